package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/sealrt/sealrt/artifact/trust"
)

// keyFlags say which private key signs, and where its passphrase comes from.
type keyFlags struct {
	file       string
	passwordFD int
	form       string
	remote     bool
}

func (f *keyFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.file, "key", "", "sign with the private key in `FILE`, in cosign's format")
	flags.IntVar(&f.passwordFD, "password-fd", -1, "read the passphrase of the key from this file descriptor (otherwise COSIGN_PASSWORD, or asked)")
	flags.Var(newChoice(&f.form, "auto", "auto", "tag", "bundle", "both"), "form", "how it lies beside the image: under a tag, which every cosign reads, in a sigstore bundle, or both; auto is tag, and both for an image that has bundles")
	flags.BoolVar(&f.remote, "remote", false, "in the registry, even when the store has the image too")
}

// forms returns the forms to write, none for auto.
func (f *keyFlags) forms() []trust.Form {
	switch f.form {
	case "tag":
		return []trust.Form{trust.Tag}
	case "bundle":
		return []trust.Form{trust.Bundle}
	case "both":
		return []trust.Form{trust.Tag, trust.Bundle}
	}
	return nil
}

// passphraseVariables hold the passphrase of a key, even when they are empty.
func passphraseVariables() []string { return []string{"SEALRT_KEY_PASSWORD", "COSIGN_PASSWORD"} }

// given returns a passphrase that nobody needs to be asked for.
func (f *keyFlags) given() ([]byte, bool, error) {
	if f.passwordFD >= 0 {
		secret, err := readSecretFD(f.passwordFD)
		return []byte(secret), true, err
	}
	for _, name := range passphraseVariables() {
		if secret, ok := os.LookupEnv(name); ok {
			return []byte(secret), true, nil
		}
	}
	return nil, false, nil
}

// open reads the private key. Somebody is asked only for a passphrase that is not
// empty.
func (f *keyFlags) open(env *environment, verb string) (*trust.Signer, error) {
	if f.file == "" {
		return nil, usageError{fmt.Errorf("%s: name a private key with --key; `sealrt sign --generate-key PREFIX` makes one; signing without a key (keyless) needs the network and is not supported", verb)}
	}
	secret, given, err := f.given()
	if err != nil {
		return nil, err
	}
	signer, err := trust.LoadSigner(f.file, func() ([]byte, error) { return secret, nil })
	switch {
	case err == nil || !errors.Is(err, trust.ErrPassphrase):
		return signer, err
	case given:
		return nil, fmt.Errorf("%w: correct COSIGN_PASSWORD or what --password-fd reads", err)
	case !env.interactive():
		return nil, fmt.Errorf("key %s: it has a passphrase, and there is no terminal to ask on: set COSIGN_PASSWORD or pass --password-fd", f.file)
	}
	return trust.LoadSigner(f.file, func() ([]byte, error) {
		secret, err := askSecret(env, "Passphrase of "+f.file+": ")
		return []byte(secret), err
	})
}

// choose returns the passphrase for a new key.
func (f *keyFlags) choose(env *environment, file string) ([]byte, error) {
	secret, given, err := f.given()
	if given || err != nil {
		return secret, err
	}
	if !env.interactive() {
		return nil, errors.New("sign: a new key needs a passphrase, and there is no terminal to ask on: set COSIGN_PASSWORD, which may be empty, or pass --password-fd")
	}
	first, err := askSecret(env, "Passphrase for "+file+", empty for none: ")
	if err != nil {
		return nil, err
	}
	second, err := askSecret(env, "Once more: ")
	if err == nil && first != second {
		err = errors.New("sign: these were two passphrases: run the command again")
	}
	return []byte(first), err
}

// generateKey writes PREFIX.key and PREFIX.pub, and prints the names.
func generateKey(env *environment, f *keyFlags, prefix, kind string) error {
	private, public := prefix+".key", prefix+".pub"
	for _, file := range []string{private, public} {
		if _, err := os.Lstat(file); err == nil {
			return fmt.Errorf("%s is there already, and a key cannot be made again: choose another name", file)
		}
	}
	secret, err := f.choose(env, private)
	if err != nil {
		return err
	}
	key, pub, err := trust.GenerateKey(trust.KeyType(kind), secret)
	if err != nil {
		return err
	}
	if err := writeNew(private, key, 0o600); err != nil {
		return err
	}
	if err := writeNew(public, pub, 0o644); err != nil {
		return errors.Join(err, os.Remove(private))
	}
	if len(bytes.TrimSpace(secret)) == 0 {
		env.note("%s has no passphrase: whoever can read it can sign", private)
	}
	_, err = fmt.Fprintf(env.stdout, "%s\n%s\n", private, public)
	return err
}

// writeNew writes a file that must not be there.
func writeNew(name string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
