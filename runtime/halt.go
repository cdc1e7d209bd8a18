package runtime

import "time"

// HaltID is the ID of the step that begins to halt a host.
const HaltID = "halt"

// Halt ends a unit whose control group holds the pods, which outlive it, and
// takes out of the kernel what it put there. Further steps come before that.
func Halt(unit string, r Role, patience time.Duration, network Flush, further ...Step) []Step {
	steps := []Step{
		{ID: HaltID, Again: true, Disturbs: Disturbance{Services: []string{unit}, Pods: true, API: r == Master},
			Do: Exec{Argv: []string{"systemctl", "stop", unit}, Tolerate: true, Timeout: patience}},
		{ID: "halt pods", With: HaltID, Again: true, Do: Exec{Argv: []string{"systemctl", "kill", "--signal=KILL", unit}, Tolerate: true}},
	}
	return append(append(steps, further...), Step{ID: "halt network", With: HaltID, Do: network})
}
