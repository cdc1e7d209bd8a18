package runtime

import "time"

// oneTry is how long kubectl waits before it is asked again.
const oneTry = "--timeout=10s"

// Until waits for what `kubectl wait --for` is told of an object.
func Until(d Driver, id, condition, object string, patience time.Duration) Step {
	return Step{ID: id, Do: Await{Argv: d.Kubectl("wait", "--for="+condition, object, oneTry), Timeout: patience}}
}

// Voting waits until a master is a full member of the store that the masters keep,
// where they keep one.
func Voting(d interface {
	Driver
	Leaver
}, c *Cluster, m Member, condition, object string, patience time.Duration) []Step {
	if !d.Votes(c) {
		return nil
	}
	return []Step{Until(d, "voting "+m.Hostname, condition, object, patience)}
}

// RunsVersion waits until the kubelet of a member says its version.
func RunsVersion(d Driver, m Member, version string, patience time.Duration) Step {
	return Until(d, "moved "+m.Hostname, "jsonpath={.status.nodeInfo.kubeletVersion}="+version, "node/"+m.Hostname, patience)
}

// RolledOut waits until all pods of something in kube-system run as it says now,
// such as deployment/coredns.
func RolledOut(d Driver, what string, patience time.Duration) Step {
	return Step{ID: "settled " + what, Do: Await{Argv: d.Kubectl("-n", "kube-system", "rollout", "status", what, oneTry), Timeout: patience}}
}
