package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kevinburke/ssh_config"
)

const defaultPort = 22

// clientConfig is an ssh_config(5) file. The zero value says nothing.
type clientConfig struct {
	path    string
	home    string
	file    *ssh_config.Config
	origins []string // file:line of each line of it
	notes   []string // parts that were left out, for the errors of connections that fail
}

// readConfig reads the file at path; none at all is fine. Match blocks with conditions other than `host` and `all` are left
// out and noted: they ask for programs to be run.
func readConfig(path, home string) (clientConfig, error) {
	c := clientConfig{path: path, home: home}
	if path == "" {
		return c, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the SSH configuration: %w", err)
	}
	c.file, err = ssh_config.DecodeBytes(c.rewrite(text, path, 0))
	if err != nil {
		return c, fmt.Errorf("read the SSH configuration %s: correct the line", c.located(err))
	}
	return c, nil
}

// maxIncludes is how deep files include each other (ssh_config(5) says 16; the library allows 5).
const maxIncludes = 5

// rewrite takes Match blocks out that the library does not know, which ends at the first one, and puts what is included for all
// machines in the place of the Include, so that this is done there too. Other Includes get paths that are absolute by c.home,
// where the library would look for a home directory by itself.
func (c *clientConfig) rewrite(text []byte, path string, depth int) []byte {
	var out [][]byte
	add := func(n int, line []byte) {
		out, c.origins = append(out, line), append(c.origins, fmt.Sprintf("%s:%d", path, n))
	}
	forAll := true
	for i, line := range bytes.Split(text, []byte("\n")) {
		words := strings.Fields(strings.Replace(string(line), "=", " ", 1))
		if len(words) < 2 {
			add(i+1, line)
			continue
		}
		switch strings.ToLower(words[0]) {
		case "host":
			forAll = len(words) == 2 && words[1] == "*"
		case "match":
			kind := strings.ToLower(words[1])
			if forAll = kind == "all"; !forAll && (kind != "host" || len(words) != 3) {
				c.notes = append(c.notes, fmt.Sprintf("%s:%d: %q was left out: only Match host and Match all are understood",
					path, i+1, strings.TrimSpace(string(line))))
				line = []byte("Host !*")
			}
		case "include":
			for j, w := range words[1:] {
				words[j+1] = c.expand(strings.Trim(w, `"`), nil)
				if !filepath.IsAbs(words[j+1]) {
					words[j+1] = filepath.Join(filepath.Dir(c.path), words[j+1])
				}
			}
			if !forAll || depth == maxIncludes {
				line = []byte(strings.Join(words, " "))
				break
			}
			for _, file := range found(words[1:]) {
				out = append(out, c.include(file, depth+1)...)
			}
			line = []byte("Host *") // the file may have ended in another block
		}
		add(i+1, line)
	}
	return bytes.Join(out, []byte("\n"))
}

// include returns the lines of a file; one that cannot be read has none, and is noted.
func (c *clientConfig) include(file string, depth int) [][]byte {
	text, err := os.ReadFile(file)
	if err != nil {
		c.notes = append(c.notes, err.Error())
		return nil
	}
	return bytes.Split(c.rewrite(text, file, depth), []byte("\n"))
}

// found returns the files that patterns (filepath.Match) stand for.
func found(patterns []string) []string {
	var all []string
	for _, p := range patterns {
		files, _ := filepath.Glob(p) // what is no pattern finds nothing, as with ssh(1)
		all = append(all, files...)
	}
	return all
}

// located puts file and line of what was rewritten into an error of the library, which begins with (line, column).
func (c *clientConfig) located(err error) string {
	var line, column int
	if n, _ := fmt.Sscanf(err.Error(), "(%d, %d):", &line, &column); n < 2 || line < 1 || line > len(c.origins) {
		return fmt.Sprintf("%s: %v", c.path, err)
	}
	_, what, _ := strings.Cut(err.Error(), "): ")
	return c.origins[line-1] + ": " + what
}

// expand replaces ~ and the tokens of ssh_config(5), "TOKENS", that tokens names; %d and %% are always known.
func (c *clientConfig) expand(s string, tokens map[byte]string) string {
	if s == "~" || strings.HasPrefix(s, "~/") {
		s = c.home + s[1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		value, ok := tokens[s[i]]
		switch {
		case s[i] == '%':
			b.WriteByte('%')
		case s[i] == 'd':
			b.WriteString(c.home)
		case ok:
			b.WriteString(value)
		default:
			b.WriteString(s[i-1 : i+1])
		}
	}
	return b.String()
}

func (c *clientConfig) get(alias, key string) (string, error) {
	if c.file == nil {
		return "", nil
	}
	v, err := c.file.Get(alias, key)
	if err != nil {
		return "", fmt.Errorf("read %s for %s in %s: %w", key, alias, c.path, err)
	}
	return v, nil
}

func (c *clientConfig) all(alias, key string) ([]string, error) {
	if c.file == nil {
		return nil, nil
	}
	v, err := c.file.GetAll(alias, key)
	if err != nil {
		return nil, fmt.Errorf("read %s for %s in %s: %w", key, alias, c.path, err)
	}
	return v, nil
}

// target is one machine on the way, with everything that ssh_config had to say about it.
type target struct {
	user           string
	host           string // to dial and to look up in known_hosts
	port           int
	keyName        string // HostKeyAlias
	identities     []string
	identitiesOnly bool
	agent          string
	knownHosts     []string
	jump           string
	connect        time.Duration // ConnectTimeout; 0: not said
	silence        time.Duration // ServerAliveInterval times ServerAliveCountMax; 0: not said
}

func (t target) address() Address { return Address{User: t.user, Host: t.host, Port: t.port} }

// lookup completes a by the configuration. What a says itself wins.
func (c *clientConfig) lookup(a Address, o SSHOptions) (target, error) {
	t := target{user: a.User, host: a.Host, port: a.Port, agent: o.Agent, knownHosts: o.KnownHosts}
	v := map[string]string{}
	for _, key := range []string{"HostName", "User", "Port", "HostKeyAlias", "IdentitiesOnly", "IdentityAgent",
		"UserKnownHostsFile", "ProxyJump", "ProxyCommand", "ConnectTimeout", "ServerAliveInterval", "ServerAliveCountMax"} {
		var err error
		if v[key], err = c.get(a.Host, key); err != nil {
			return t, err
		}
	}
	if v["HostName"] != "" {
		t.host = c.expand(v["HostName"], map[byte]string{'h': a.Host})
	}
	t.user = firstOf(t.user, v["User"], o.LocalUser, "root")
	if t.port == 0 && v["Port"] != "" {
		port, err := strconv.ParseUint(v["Port"], 10, 16)
		if err != nil {
			return t, fmt.Errorf("read Port for %s in %s: %q is not a port: correct the line", a.Host, c.path, v["Port"])
		}
		t.port = int(port)
	}
	if t.port == 0 {
		t.port = defaultPort
	}
	t.jump, t.keyName = v["ProxyJump"], v["HostKeyAlias"]
	if cmd := v["ProxyCommand"]; cmd != "" && !strings.EqualFold(cmd, "none") && t.jump == "" && o.ProxyJump == "" {
		return t, fmt.Errorf("%s: ProxyCommand for %s is not supported: use ProxyJump", c.path, a.Host)
	}
	if err := c.limits(&t, a.Host, v); err != nil {
		return t, err
	}
	tokens := map[byte]string{'h': t.host, 'n': a.Host, 'r': t.user, 'u': o.LocalUser, 'p': strconv.Itoa(t.port)}
	return t, c.files(&t, a.Host, tokens, v)
}

// limits fills in how long the machine may take.
func (c *clientConfig) limits(t *target, alias string, v map[string]string) error {
	times := map[string]time.Duration{}
	for _, key := range []string{"ConnectTimeout", "ServerAliveInterval"} {
		text := v[key]
		if text == "" || strings.EqualFold(text, "none") {
			continue
		}
		if strings.Trim(text, "0123456789") == "" {
			text += "s"
		}
		d, err := time.ParseDuration(strings.ToLower(text))
		if err != nil || d < 0 {
			return fmt.Errorf("read %s for %s in %s: %q is not a time: write seconds, or 1m30s", key, alias, c.path, v[key])
		}
		times[key] = d
	}
	count := uint64(3)
	if v["ServerAliveCountMax"] != "" {
		var err error
		if count, err = strconv.ParseUint(v["ServerAliveCountMax"], 10, 16); err != nil {
			return fmt.Errorf("read ServerAliveCountMax for %s in %s: %q is not a number: correct the line", alias, c.path, v["ServerAliveCountMax"])
		}
	}
	t.connect, t.silence = times["ConnectTimeout"], times["ServerAliveInterval"]*time.Duration(count)
	return nil
}

// HostName returns what the machine of o is called on the network: what o.Config says of it, else its name in o.
func HostName(o SSHOptions) (string, error) {
	c, err := readConfig(o.Config, o.Home)
	if err != nil {
		return "", err
	}
	t, err := c.lookup(o.Address, o)
	return t.host, err
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// files fills in what names files and sockets.
func (c *clientConfig) files(t *target, alias string, tokens map[byte]string, v map[string]string) error {
	identities, err := c.all(alias, "IdentityFile")
	if err != nil {
		return err
	}
	for _, f := range identities {
		if f = c.expand(f, tokens); !strings.EqualFold(f, "none") {
			t.identities = append(t.identities, f)
		}
	}
	t.identitiesOnly = strings.EqualFold(v["IdentitiesOnly"], "yes")
	switch socket := v["IdentityAgent"]; {
	case socket == "" || socket == "SSH_AUTH_SOCK" || strings.HasPrefix(socket, "$"):
	case strings.EqualFold(socket, "none"):
		t.agent = ""
	default:
		t.agent = c.expand(socket, tokens)
	}
	if t.knownHosts != nil {
		return nil
	}
	for _, f := range strings.Fields(v["UserKnownHostsFile"]) {
		if f = c.expand(f, tokens); !strings.EqualFold(f, "none") {
			t.knownHosts = append(t.knownHosts, f)
		}
	}
	if v["UserKnownHostsFile"] == "" && c.home != "" {
		t.knownHosts = append(t.knownHosts, filepath.Join(c.home, ".ssh", "known_hosts"))
	}
	if v["UserKnownHostsFile"] == "" {
		t.knownHosts = append(t.knownHosts, "/etc/ssh/ssh_known_hosts")
	}
	return nil
}
