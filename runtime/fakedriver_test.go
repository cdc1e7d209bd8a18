package runtime_test

import "github.com/sealrt/sealrt/runtime"

// fakeDriver is a distribution of one command for everything.
type fakeDriver struct{ runtime.Driver }

func (fakeDriver) Name() string                                           { return "fake" }
func (fakeDriver) Check(*runtime.Cluster) error                           { return nil }
func (fakeDriver) Kubeconfig() string                                     { return "/etc/fake/admin.conf" }
func (fakeDriver) Kubectl(args ...string) []string                        { return append([]string{"kubectl"}, args...) }
func (fakeDriver) Import(*runtime.Cluster, runtime.Image) []runtime.Step  { return nil }
func (fakeDriver) Grant(*runtime.Cluster) []runtime.Step                  { return nil }
func (fakeDriver) Forget(*runtime.Cluster, runtime.Member) []runtime.Step { return nil }
func (fakeDriver) Settled(*runtime.Cluster) []runtime.Step                { return nil }

func fakeStep(id string, argv ...string) []runtime.Step {
	return []runtime.Step{{ID: id, Do: runtime.Exec{Argv: append([]string{"fake"}, argv...)}}}
}

func (fakeDriver) Prepare(*runtime.Cluster, runtime.Member) ([]runtime.Step, error) {
	return fakeStep("fake prepare", "prepare"), nil
}

func (fakeDriver) Init(*runtime.Cluster, runtime.Member) ([]runtime.Step, error) {
	return fakeStep("fake init", "init"), nil
}

func (fakeDriver) JoinNode(*runtime.Cluster, runtime.Member) ([]runtime.Step, error) {
	return fakeStep("fake join", "join"), nil
}

func (fakeDriver) JoinMaster(*runtime.Cluster, runtime.Member) ([]runtime.Step, error) {
	return fakeStep("fake join", "join", "master"), nil
}

func (fakeDriver) Reset(*runtime.Cluster, runtime.Member) []runtime.Step {
	return []runtime.Step{{ID: "fake reset", Do: runtime.Exec{Argv: []string{"fake", "reset"}, Always: true}}}
}
