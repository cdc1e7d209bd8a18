package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// CABundle is where the certificates of Config.CAFile and the machine's authorities appear, in both kinds of root.
const CABundle = "/dev/sealrt-ca.pem"

// Certificates returns what belongs at CABundle: the certificates of caFile and, if found, those that this machine trusts.
// With a limit, in bytes and not 0, that both together exceed, it returns those of caFile alone.
func Certificates(caFile string, limit int) ([]byte, error) {
	given, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA file: %w", err)
	}
	for _, name := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		system, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the machine's CA bundle: %w", err)
		}
		both := slices.Concat(bytes.TrimRight(given, "\n"), []byte("\n"), system)
		if limit > 0 && len(both) > limit {
			return given, nil
		}
		return both, nil
	}
	return given, nil
}
