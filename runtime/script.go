package runtime

import "path"

// ScriptStep returns the step that runs a script of the rootfs image on a host: as
// root, in the image's tree, with the environment of hooks, where SEALRT_PHASE is
// the phase. Its output is kept on the host. It may be run again when it is not
// known how far it came.
func (c *Cluster) ScriptStep(id, phase string, m Member, script string) Step {
	i := c.Image()
	step := c.hookStep(id, HookPhase(phase), m, i, path.Join(i.Rootfs(), script), "")
	step.Again = true
	return step
}
