package runtime

import "github.com/sealrt/sealrt/runtime/release"

// Units of [Needs], in bytes.
const (
	MiB = int64(1) << 20
	GiB = int64(1) << 30
)

// NeedsCgroupV2 reports whether the kubelet of the image refuses cgroup v1: from
// v1.35 on, https://kep.k8s.io/5573.
func (i Image) NeedsCgroupV2() bool {
	v, err := release.Parse(i.Kind.Version, "")
	return err == nil && v.Since(35)
}
