package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// defaultIdentities are the keys that are tried when none is named, below ~/.ssh.
func defaultIdentities() []string { return []string{"id_ed25519", "id_ecdsa", "id_rsa"} }

// login is one attempt to log in: the ways to try, and a record of what was tried, for the error.
type login struct {
	o       SSHOptions
	t       target
	ask     func(func() (string, error)) (string, error) // stops the clock while a person answers
	agent   net.Conn                                     // nil: none
	given   bool                                         // the password was, and is not given again: servers count attempts
	tried   []string
	skipped []string
}

// newLogin connects to the agent, if there is one. The caller closes it.
func newLogin(ctx context.Context, o SSHOptions, t target, ask func(func() (string, error)) (string, error)) *login {
	l := &login{o: o, t: t, ask: ask}
	if t.agent == "" {
		return l
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", t.agent)
	if err != nil {
		l.skipped = append(l.skipped, "the agent: "+err.Error())
		return l
	}
	l.agent = conn
	return l
}

func (l *login) close() {
	if l.agent != nil {
		_ = l.agent.Close() // only asked questions
	}
}

// errGiven ends a login whose password was refused, where the server would take it in another way.
var errGiven = errors.New("the password was given already")

// methods returns the ways to log in, in the order of ssh(1).
func (l *login) methods() []ssh.AuthMethod {
	all := []ssh.AuthMethod{ssh.PublicKeysCallback(l.signers)}
	if l.o.Password == nil {
		return all
	}
	password := func() (string, error) {
		if l.given {
			return "", errGiven
		}
		l.given = true
		l.tried = append(l.tried, "the password")
		return l.ask(l.o.Password)
	}
	questions := func(_, _ string, questions []string, echos []bool) ([]string, error) {
		switch {
		case len(questions) == 0:
			return nil, nil
		case len(questions) == 1 && !echos[0]:
			answer, err := password()
			return []string{answer}, err
		}
		return nil, fmt.Errorf("the server asks %q, which a password does not answer", questions)
	}
	return append(all, ssh.PasswordCallback(password), ssh.KeyboardInteractive(questions))
}

// signers returns the keys to try: the files that were named, then the agent's, then the files that everybody has. A file
// whose key the agent holds is signed for by the agent, so that no passphrase is asked for.
func (l *login) signers() ([]ssh.Signer, error) {
	held, err := l.agentSigners()
	if err != nil {
		l.skipped = append(l.skipped, "the agent: "+err.Error())
	}
	named := slices.Concat(l.o.Identities, l.t.identities)
	var first []ssh.Signer
	for _, file := range named {
		s, err := l.load(file, held)
		if errors.Is(err, fs.ErrNotExist) && !slices.Contains(l.o.Identities, file) {
			continue // ssh_config may name keys that are not on this machine
		}
		if err != nil {
			l.skipped = append(l.skipped, err.Error())
			continue
		}
		first = append(first, s)
	}
	all := first
	if !l.t.identitiesOnly {
		all = append(all, held...)
	}
	if len(named) == 0 && l.o.Home != "" {
		for _, name := range defaultIdentities() {
			if s, err := l.load(filepath.Join(l.o.Home, ".ssh", name), held); err == nil {
				all = append(all, s)
			} else if !errors.Is(err, fs.ErrNotExist) {
				l.skipped = append(l.skipped, err.Error())
			}
		}
	}
	return l.once(all), nil
}

// once drops keys that come twice, since servers count attempts, and records those that remain.
func (l *login) once(all []ssh.Signer) []ssh.Signer {
	var unique []ssh.Signer
	seen := map[string]bool{}
	for _, s := range all {
		if k := string(s.PublicKey().Marshal()); !seen[k] {
			seen[k] = true
			unique = append(unique, s)
			l.tried = append(l.tried, nameOf(s))
		}
	}
	return unique
}

func (l *login) agentSigners() ([]ssh.Signer, error) {
	if l.agent == nil {
		return nil, nil
	}
	client := agent.NewClient(l.agent)
	keys, err := client.List()
	if err != nil {
		return nil, err
	}
	signers, err := client.Signers()
	if err != nil {
		return nil, err
	}
	var all []ssh.Signer
	for i, s := range signers {
		name := "a key of the agent"
		if i < len(keys) && bytes.Equal(keys[i].Marshal(), s.PublicKey().Marshal()) && keys[i].Comment != "" {
			name = "the agent's key " + keys[i].Comment
		}
		all = append(all, namedSigner{s, name})
	}
	return all, nil
}

// namedSigner is a key that knows where it comes from.
type namedSigner struct {
	ssh.Signer
	name string
}

func nameOf(s ssh.Signer) string {
	name := "a key"
	switch s := s.(type) {
	case namedSigner:
		name = s.name
	case *lockedSigner:
		name = s.file
	}
	return name + " (" + ssh.FingerprintSHA256(s.PublicKey()) + ")"
}

// SignWithAlgorithm keeps RSA keys away from SHA-1 (RFC 8332).
func (s namedSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	return signWith(s.Signer, rand, data, algorithm)
}

func signWith(s ssh.Signer, rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	if as, ok := s.(ssh.AlgorithmSigner); ok {
		return as.SignWithAlgorithm(rand, data, algorithm)
	}
	return s.Sign(rand, data)
}

// load reads a private key file, or takes the agent's hand for it. An encrypted key is opened when the server accepts it.
func (l *login) load(file string, held []ssh.Signer) (ssh.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the key %s: %w", file, err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err == nil {
		return namedSigner{signer, file}, nil
	}
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		return nil, fmt.Errorf("the key %s: %s", file, strings.TrimPrefix(err.Error(), "ssh: "))
	}
	public := locked.PublicKey
	if public == nil {
		public = publicHalf(file)
	}
	if public != nil {
		for _, s := range held {
			if bytes.Equal(s.PublicKey().Marshal(), public.Marshal()) {
				return s, nil
			}
		}
	}
	if l.o.Passphrase == nil {
		return nil, fmt.Errorf("the key %s has a passphrase: add it to the agent with `ssh-add %s`", file, Quote([]string{file}))
	}
	if public == nil {
		return l.unlock(file, text) // an old PEM file without its .pub: nothing can be offered before it is open
	}
	return &lockedSigner{login: l, file: file, text: text, public: public}, nil
}

func publicHalf(file string) ssh.PublicKey {
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil
	}
	return key
}

func (l *login) unlock(file string, text []byte) (ssh.Signer, error) {
	var signer ssh.Signer
	_, err := l.ask(func() (string, error) {
		phrase, err := l.o.Passphrase(file)
		if err != nil {
			return "", fmt.Errorf("the key %s: ask for its passphrase: %w", file, err)
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(phrase)); err != nil {
			return "", fmt.Errorf("the key %s: the passphrase does not open it: try again", file)
		}
		return "", nil
	})
	return namedSigner{signer, file}, err
}

// lockedSigner is an encrypted key whose passphrase nobody has been asked for yet.
type lockedSigner struct {
	login  *login
	file   string
	text   []byte
	public ssh.PublicKey
}

func (s *lockedSigner) PublicKey() ssh.PublicKey { return s.public }

func (s *lockedSigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return s.SignWithAlgorithm(rand, data, s.public.Type())
}

// SignWithAlgorithm asks for the passphrase: the server has said that it takes the key.
func (s *lockedSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	signer, err := s.login.unlock(s.file, s.text)
	if err != nil {
		s.login.skipped = append(s.login.skipped, err.Error())
		return nil, err
	}
	return signWith(signer, rand, data, algorithm)
}

// failure says what was tried and what to do. It never holds a secret: keys are named by file and fingerprint.
func (l *login) failure(cause error) error {
	text := "no key or password was there to try"
	if len(l.tried) > 0 {
		text = "tried " + strings.Join(l.tried, ", ")
	}
	if len(l.skipped) > 0 {
		text += "; could not use " + strings.Join(l.skipped, "; ")
	}
	next := "name the right key with --identity, load it with ssh-add, or pass --ask-pass"
	if l.o.Password != nil {
		next = "check the user and the password, or name the right key with --identity"
	}
	if strings.Contains(cause.Error(), "Too many authentication failures") {
		next = "the server gave up before the right key came: name it with --identity, and set IdentitiesOnly yes for the host in ~/.ssh/config"
	}
	return fmt.Errorf("%s was not let in: %s: %s", l.t.user, text, next)
}
