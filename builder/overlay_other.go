//go:build !linux

package builder

// onLinux says whether RUN commands can run here at all.
const onLinux = false

func hasCapabilities(string) bool { return false }
