package host

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// keyChecker decides whether a machine is the one it was before.
type keyChecker struct {
	files     []string // known_hosts files that exist, the one for new keys included
	acceptNew string   // "": machines that are not known are refused
	check     ssh.HostKeyCallback
}

func newKeyChecker(files []string, also, acceptNew string) (*keyChecker, error) {
	k := &keyChecker{acceptNew: acceptNew}
	files = slices.Clone(files)
	for _, f := range []string{also, acceptNew} {
		if f != "" && !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	for _, f := range files {
		_, err := os.Stat(f)
		if err == nil {
			k.files = append(k.files, f)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read known host keys: %w", err)
		}
	}
	var err error
	if k.check, err = knownhosts.New(k.files...); err != nil {
		if strings.HasPrefix(err.Error(), "knownhosts: ") { // the library names file and line
			err = fmt.Errorf("%w: correct or remove that line", err)
		}
		return nil, fmt.Errorf("read known host keys: %w", err)
	}
	return k, nil
}

// known returns the keys on file for address (host:port). It asks the callback about a key that nobody has.
func (k *keyChecker) known(address string) []knownhosts.KnownKey {
	var mismatch *knownhosts.KeyError
	if errors.As(k.check(address, noAddr(address), noKey{}), &mismatch) {
		return mismatch.Want
	}
	return nil
}

// noAddr is an address that was not resolved.
type noAddr string

func (noAddr) Network() string  { return "tcp" }
func (a noAddr) String() string { return string(a) }

var _ net.Addr = noAddr("")

// noKey is a public key that equals no other.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// algorithms orders the host key algorithms so that a server with several keys shows the one that is on file. Certificates
// are asked for only where an authority is on file.
func (k *keyChecker) algorithms(address string) []string {
	var first, rest, certs []string
	types := map[string]bool{}
	authority := false
	for _, key := range k.known(address) {
		if isAuthority(key) {
			authority = true
		} else {
			types[key.Key.Type()] = true
		}
	}
	for _, algo := range ssh.SupportedAlgorithms().HostKeys {
		switch {
		case strings.Contains(algo, "-cert-"):
			certs = append(certs, algo)
		case types[keyType(algo)]:
			first = append(first, algo)
		case algo == ssh.KeyAlgoED25519: // what ssh(1) would show of a machine that is not known
			rest = slices.Insert(rest, 0, algo)
		default:
			rest = append(rest, algo)
		}
	}
	if !authority {
		certs = nil
	}
	return slices.Concat(certs, first, rest)
}

// keyType is the type of the keys that sign by an algorithm (RFC 8332, section 3).
func keyType(algo string) string {
	if algo == ssh.KeyAlgoRSASHA256 || algo == ssh.KeyAlgoRSASHA512 {
		return ssh.KeyAlgoRSA
	}
	return algo
}

// isAuthority reports whether the line of a known key marks it as one that signs host certificates.
func isAuthority(key knownhosts.KnownKey) bool {
	f, err := os.Open(key.Filename)
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if n == key.Line {
			return strings.HasPrefix(strings.TrimSpace(lines.Text()), "@cert-authority")
		}
	}
	return false
}

// callback checks the key that the machine at address shows; a new one is accepted and written down where that is allowed.
func (k *keyChecker) callback(address string) ssh.HostKeyCallback {
	return func(_ string, remote net.Addr, key ssh.PublicKey) error {
		err := k.check(address, remote, key)
		var mismatch *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &revoked):
			return fmt.Errorf("host key %s is marked as revoked at %s:%d: do not trust this machine",
				ssh.FingerprintSHA256(key), revoked.Revoked.Filename, revoked.Revoked.Line)
		case !errors.As(err, &mismatch):
			return fmt.Errorf("check host key %s: %s: have its certificate signed for this name by an authority that known_hosts has, or put its plain key there",
				ssh.FingerprintSHA256(key), strings.TrimPrefix(err.Error(), "ssh: "))
		}
		// a machine that an authority could sign for and did not is new, as to ssh(1)
		before := slices.DeleteFunc(slices.Clone(mismatch.Want), isAuthority)
		switch {
		case len(before) > 0:
			return changedKey(address, key, before)
		case k.acceptNew == "":
			return k.unknownKey(address, key)
		}
		return k.remember(address, key)
	}
}

func (k *keyChecker) unknownKey(address string, key ssh.PublicKey) error {
	h, port, _ := net.SplitHostPort(address)
	where := h
	flag := ""
	if port != strconv.Itoa(defaultPort) {
		flag = "-p " + port + " "
	}
	return fmt.Errorf("the machine is not known: it shows the %s host key %s: compare it with the machine's own, then run `ssh %s%s` once "+
		"(or `ssh-keyscan %s%s >> ~/.ssh/known_hosts`), or pass --accept-new-host-key to trust machines seen for the first time",
		key.Type(), ssh.FingerprintSHA256(key), flag, where, flag, where)
}

func changedKey(address string, key ssh.PublicKey, want []knownhosts.KnownKey) error {
	old := want[0]
	for _, w := range want {
		if w.Key.Type() == key.Type() {
			old = w
		}
	}
	return fmt.Errorf("the host key has changed: the machine shows %s %s, but %s:%d has %s %s: somebody may be in between; "+
		"if the machine was reinstalled, run `ssh-keygen -f %s -R %s` and try again",
		key.Type(), ssh.FingerprintSHA256(key), old.Filename, old.Line, old.Key.Type(), ssh.FingerprintSHA256(old.Key),
		Quote([]string{old.Filename}), Quote([]string{knownhosts.Normalize(address)}))
}

// remember appends the key to the file for new ones, as one write, so that machines met at the same time do not mix.
func (k *keyChecker) remember(address string, key ssh.PublicKey) (err error) {
	if err := os.MkdirAll(filepath.Dir(k.acceptNew), 0o700); err != nil {
		return fmt.Errorf("remember the host key: %w", err)
	}
	f, err := os.OpenFile(k.acceptNew, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("remember the host key: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString(knownhosts.Line([]string{address}, key) + "\n"); err != nil {
		return fmt.Errorf("remember the host key: %w", err)
	}
	return nil
}
