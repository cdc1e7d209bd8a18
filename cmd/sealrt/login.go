package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func newLogin(env *environment) *cobra.Command {
	var user string
	var fromStdin bool
	cmd := &cobra.Command{
		Use:   "login [flags] REGISTRY",
		Short: "Store credentials for a registry",
		Long: `Verify a name and a password, or token, with a registry and store them where other
tools find them. They are never taken from the command line.`,
		Example: "  sealrt login registry.example.com\n  sealrt login registry.example.com -u me --password-stdin < token",
		Args:    needArgs("a registry", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if fromStdin && user == "" {
				return usageError{errors.New("login: --password-stdin needs -u USER")}
			}
			return login(cmd.Context(), env, args[0], user, fromStdin)
		},
	}
	cmd.Flags().StringVarP(&user, "username", "u", "", "log in as `USER`")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	env.registryFlags(cmd.Flags())
	return cmd
}

// login asks for what was not given, and logs in.
func login(ctx context.Context, env *environment, registry, user string, fromStdin bool) error {
	if !fromStdin && !env.interactive() {
		return usageError{errors.New("login: there is no terminal to ask on: pass -u USER and --password-stdin")}
	}
	in := bufio.NewReader(io.LimitReader(env.stdin, 64<<10))
	if user == "" {
		fmt.Fprintf(env.stderr, "User name for %s: ", registry)
		line, err := in.ReadString('\n')
		if user = strings.TrimSpace(line); user == "" {
			return errors.Join(errors.New("login: no user name"), err)
		}
	}
	secret, err := loginSecret(env, in, user, fromStdin)
	if err != nil {
		return err
	}
	where, err := env.registry().Login(ctx, registry, user, secret)
	if err != nil {
		return err
	}
	env.note("logged in to %s as %s; the credentials are in %s", registry, user, where)
	return nil
}

// loginSecret reads the password from in or asks for it.
func loginSecret(env *environment, in io.Reader, user string, fromStdin bool) (string, error) {
	if !fromStdin {
		return askSecret(env, "Password of "+user+": ")
	}
	b, err := io.ReadAll(in)
	if err != nil {
		return "", fmt.Errorf("login: read the password: %w", err)
	}
	secret := strings.TrimRight(string(b), "\r\n")
	if secret == "" {
		return "", errors.New("login: standard input holds no password")
	}
	return secret, nil
}
