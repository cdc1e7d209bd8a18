package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
)

// A maker is an action whose results can be compared later with what is there.
// made returns them by what they are: the keys are those of examine.
type maker interface {
	made(t *target) map[string]string
}

// What a ledger says of a thing that was made. The rest of a key is its name.
const (
	madeFile   = "file:"   // a path; the value is the SHA-256 of its content
	madeCopy   = "copy:"   // a path; the value is the path of what it is a copy of
	madeBlock  = "block:"  // a path, "#" and the name of the block; the value is the SHA-256 of its text
	madeLink   = "link:"   // a path; the value is where it leads
	madeUnit   = "unit:"   // a service; the value is "running" or "enabled"
	madeSysctl = "sysctl:" // a parameter of the kernel; the value is its value
	madeTree   = "tree:"   // a path; the value is the digest of the image whose tree is there
)

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}

func (a Write) made(t *target) map[string]string {
	return map[string]string{madeFile + a.Path: sum(t.engine.fill(a.Data))}
}

func (a Install) made(*target) map[string]string {
	out := map[string]string{}
	for _, n := range a.Names {
		out[madeCopy+path.Join(a.To, n)] = path.Join(a.Rootfs, a.From, n)
	}
	return out
}

func (a Load) made(*target) map[string]string {
	return map[string]string{madeTree + a.Rootfs: a.Digest, madeBlobs + StoreDir: ""}
}

func (a Block) made(t *target) map[string]string {
	return map[string]string{madeBlock + a.Path + "#" + a.Name: sum(a.body(t))}
}

func (a Service) made(*target) map[string]string {
	if a.Running {
		return map[string]string{madeUnit + a.Unit: "running"}
	}
	return map[string]string{madeUnit + a.Unit: "enabled"}
}

func (a Sysctl) made(*target) map[string]string {
	out := map[string]string{}
	for _, s := range a.Settings {
		if !s.Optional {
			out[madeSysctl+s.Name] = s.Value
		}
	}
	return out
}
