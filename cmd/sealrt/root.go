package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot returns the command line as a tree of commands.
func newRoot(env *environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "sealrt COMMAND",
		Short:         "Build cluster images and run clusters of them",
		Long:          "Build a whole Kubernetes cluster into one OCI image, move it anywhere, and run it.",
		Example:       "  sealrt build -t k3s:v1.25.3 .\n  sealrt run k3s:v1.25.3 --masters 10.0.0.1 --nodes 10.0.0.2,10.0.0.3",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("a command is missing")}
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			env.running = true
			env.verb = strings.TrimPrefix(cmd.CommandPath(), "sealrt ")
			return env.check()
		},
	}
	env.answers = &answers{known: map[string]string{}}
	env.globalFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(badFlag)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	root.SetHelpTemplate(helpTemplate)
	for _, construct := range constructors() {
		root.AddCommand(construct(env))
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// constructors lists the commands.
func constructors() []func(*environment) *cobra.Command {
	return []func(*environment) *cobra.Command{
		newBuild, newPush, newPull, newCopy, newSave, newLoad, newInventory, newImport, newMerge, newManifest,
		newImages, newInspect, newHistory, newDiff, newTag, newRmi, newPrune, newVerifyStore, newMount, newUmount, newUnpack,
		newImage, newSBOM, newSign, newVerify, newAttest, newLogin, newLogout, newVersion, newHost,
		newRun, newPlan, newApply, newAdd, newDelete, newUpgrade, newRollback, newBackup, newRestore, newUninstall, newReset,
		newStatus, newKubeconfig, newExec, newScp, newDoctor, newSupportBundle, newRecover, newGen, newRegistry, newCert,
	}
}

// helpTemplate shows an example first.
const helpTemplate = `{{if .HasExample}}Example:
{{.Example}}

{{end}}{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}Usage: {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{if .HasAvailableSubCommands}}
Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}
{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableInheritedFlags}}
Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}`

// knownCommand is reached with arguments only when they name no command.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	root.SuggestionsMinimumDistance = 2
	message := fmt.Sprintf("unknown command %q", args[0])
	if like := root.SuggestionsFor(args[0]); len(like) > 0 {
		message += ": did you mean " + strings.Join(like, " or ") + "?"
	}
	return errors.New(message)
}

// badFlag explains a flag error; behind an unknown command the flags do not
// matter.
func badFlag(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); !cmd.HasParent() && len(args) > 0 {
		return usageError{knownCommand(cmd, args)}
	}
	if cmd.HasParent() {
		err = fmt.Errorf("%s: %w", cmd.Name(), err)
	}
	return usageError{err}
}
