package runtime

// IDs of steps that a reset takes back, in all distributions.
const (
	ClaimID    = "claim"
	ProgramsID = "bin"
)

// Programs puts the programs of the image's bin/ into a directory of the host.
func Programs(i Image, to string) Step {
	return Step{ID: ProgramsID, Do: Install{Rootfs: i.Rootfs(), From: "bin", Names: i.In("bin"), To: to}}
}
