package buildkit

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/client"
)

// defaultAddress is where buildkitd listens unless told otherwise (buildkit, util/appdefaults).
const defaultAddress = "unix:///run/buildkit/buildkitd.sock"

// TLS says how a daemon at a tcp address is known and how it knows us. The zero value is a connection in the clear.
type TLS struct {
	CA        string // file of the authorities (PEM) that vouch for the daemon; "" are the machine's, when there is a Cert
	Cert, Key string // files of our certificate and its key (PEM)
	// Dir holds ca.pem, cert.pem and key.pem, those of the three files that are not named above and exist. Such
	// directories are what buildctl --tlsdir reads.
	Dir        string
	ServerName string // the name in the daemon's certificate; "" is the host of the address
}

// ParseAddress returns the address of a daemon in the form that BUILDKIT_HOST has, unix:///path or tcp://host:port, from
// that form or from one with buildkit:// before it. "buildkit://" alone is where a daemon listens by default.
func ParseAddress(address string) (string, error) {
	rest := strings.TrimPrefix(address, "buildkit://")
	if rest == "" && address != "" {
		return defaultAddress, nil
	}
	u, err := url.Parse(rest)
	if err != nil {
		return "", addressError(address, errors.New("it is no URL"))
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || !path.IsAbs(u.Path) || path.Clean(u.Path) == "/" {
			return "", addressError(address, errors.New("the socket's path is not absolute"))
		}
		return "unix://" + u.Path, nil
	case "tcp":
		if _, _, err := net.SplitHostPort(u.Host); err != nil || u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return "", addressError(address, errors.New("it has no host and port"))
		}
		return "tcp://" + u.Host, nil
	}
	return "", addressError(address, fmt.Errorf("%q is no way to reach a daemon", u.Scheme))
}

func addressError(address string, cause error) error {
	return fmt.Errorf("builder %q: %w: write buildkit://unix:///run/buildkit/buildkitd.sock or buildkit://tcp://host:port", address, cause)
}

// clientOptions returns how the client reaches address, as ParseAddress returns it.
func (t TLS) clientOptions(address string) ([]client.ClientOpt, error) {
	if t == (TLS{}) {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "tcp" {
		return nil, fmt.Errorf("%s: certificates are for daemons at tcp://host:port", address)
	}
	if t, err = t.filled(); err != nil {
		return nil, err
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("a certificate and its key go together: name both or none")
	}
	for _, file := range []string{t.CA, t.Cert, t.Key} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil { // the client's own error does not name it
			return nil, err
		}
	}
	name := t.ServerName
	if name == "" {
		name = u.Hostname()
	}
	server := client.WithServerConfigSystem(name)
	if t.CA != "" {
		server = client.WithServerConfig(name, t.CA)
	}
	if t.Cert == "" {
		return []client.ClientOpt{server}, nil
	}
	return []client.ClientOpt{server, client.WithCredentials(t.Cert, t.Key)}, nil
}

// filled returns t with the files of its directory.
func (t TLS) filled() (TLS, error) {
	if t.Dir == "" {
		return t, nil
	}
	found := false
	for name, file := range map[string]*string{"ca.pem": &t.CA, "cert.pem": &t.Cert, "key.pem": &t.Key} {
		if _, err := os.Stat(filepath.Join(t.Dir, name)); err != nil {
			continue
		}
		found = true
		if *file == "" {
			*file = filepath.Join(t.Dir, name)
		}
	}
	if !found {
		return TLS{}, fmt.Errorf("%s holds none of ca.pem, cert.pem and key.pem", t.Dir)
	}
	return t, nil
}
