package cli

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kata-containers/kata-pipelines/pipelines/internal/workspace"
)

// app is what all verbs share: the process, and the flags that mean the same in all of
// them.
type app struct {
	Process
	root, versions, cacheDir string
	json                     bool
}

func (a *app) flags(flags *pflag.FlagSet) {
	flags.StringVar(&a.root, "root", "", "root of the repository (default: the current folder or one above it)")
	flags.StringVar(&a.versions, "versions", "", "file of pins to use instead of the repository's versions.yaml")
	flags.StringVar(&a.cacheDir, "cache-dir", a.Getenv("KATA_PIPELINES_CACHE"),
		"folder of the caches (default: $KATA_PIPELINES_CACHE, or kata-pipelines in the user's cache folder)")
}

// find returns the folders of the checkout and of the caches, for verbs that read
// no declarations.
func (a *app) find() (workspace.Folders, error) {
	return workspace.Find(workspace.Options{Root: a.root, CacheDir: a.cacheDir, Environment: a.environment()})
}

// open opens the checkout, with the registry, the trust and the signing of the flags of a
// verb that has them. The caller closes it.
func (a *app) open(ctx context.Context, flags *pflag.FlagSet) (*workspace.Workspace, error) {
	report := a.reporter()
	o := workspace.Options{Root: a.root, Versions: a.versions, CacheDir: a.cacheDir, Environment: a.environment(), Report: report}
	o.Registry, _ = flags.GetString("cache")
	o.Trust, _ = flags.GetString("trust")
	if key, err := flags.GetString("sign"); err == nil {
		o.Signing = o.Environment.Signing
		o.Signing.Key = cmp.Or(key, o.Signing.Key)
	}
	ws, err := workspace.Open(ctx, o)
	if err != nil {
		report.Close()
		return nil, err
	}
	return ws, nil
}

// with returns the run of a verb that opens the checkout, as open does, and closes it
// after the run. A verb without the flag --cache has no registry.
func (a *app) with(run func(context.Context, *workspace.Workspace, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ws, err := a.open(cmd.Context(), cmd.Flags())
		if err != nil {
			return err
		}
		defer ws.Close()
		return run(cmd.Context(), ws, args)
	}
}

func (a *app) environment() workspace.Environment { return workspace.ReadEnvironment(a.Getenv) }

// The flags that several verbs share, a function for each.

func archFlag(flags *pflag.FlagSet, arch *string) {
	flags.StringVar(arch, "arch", "", "architecture to build for, such as x86_64 or arm64 (default: this machine's)")
}

func (a *app) jsonFlag(flags *pflag.FlagSet) {
	flags.BoolVar(&a.json, "json", false, "print the result as JSON")
}

// printing is a verb with the flag --json.
func (a *app) printing(cmd *cobra.Command) *cobra.Command {
	a.jsonFlag(cmd.Flags())
	return cmd
}

// selectionFlags are those of verbs that take assets: NAME..., --set SET or --all.
func selectionFlags(flags *pflag.FlagSet, s *workspace.Selection) {
	archFlag(flags, &s.Arch)
	flags.StringVar(&s.Set, "set", "", "the assets of this release set")
	flags.BoolVar(&s.All, "all", false, "all assets of the architecture")
	flags.StringSliceVar(&s.Without, "without", nil, "assets to leave out of --set or --all")
}

func (a *app) cacheFlag(flags *pflag.FlagSet) {
	flags.String("cache", a.environment().Cache,
		"registry behind the local cache, HOST[:PORT]/PATH (default: $ARTEFACT_REGISTRY/$ARTEFACT_REPOSITORY)")
	flags.Lookup("cache").DefValue = "" // It may contain a password.
	flags.String("trust", "", "what to do with entries that assets/trust.yaml does not accept: off, warn or require (default: require if the file exists)")
}

// sourceFlag names local files to take sources from.
func sourceFlag(flags *pflag.FlagSet, given *map[string]string) {
	flags.StringToStringVar(given, "source", nil,
		"NAME=PATH: take an asset from a local archive, folder or program, or a source from a file whose hash is declared or a clone that has its commit")
}

func allowDirtyFlag(flags *pflag.FlagSet, allow *bool) {
	flags.BoolVar(allow, "allow-dirty", false, "push even if an input differs from the commit")
	signFlag(flags)
}

// signFlag is for verbs that push.
func signFlag(flags *pflag.FlagSet) {
	flags.String("sign", "", "sign what is pushed with the private key in this file, or keyless in a job of GitHub Actions (default: $KATA_SIGNING_KEY, a path or the key)")
}

// switchFlag overrides a variable of Kata's CI.
func switchFlag(flags *pflag.FlagSet, s *workspace.Switch, name, usage string) {
	flags.Var(s, name, usage)
	flags.Lookup(name).NoOptDefVal, flags.Lookup(name).DefValue = "true", "false"
}

// pushFlag says whether to push to the registry of --cache.
func (a *app) pushFlag(flags *pflag.FlagSet, push *workspace.Switch, usage string) {
	*push = a.environment().Push
	switchFlag(flags, push, "push", usage+" (default: PUSH_TO_REGISTRY is yes)")
}

func pushes(ws *workspace.Workspace, push workspace.Switch) (bool, error) {
	on, err := push.On(false)
	if on && ws.Store.Registry == nil {
		return false, workspace.ErrNoRegistry
	}
	return on, err
}

// selected takes the arguments as names of assets. Without any selection on the command
// line, an optional one selects all assets of the architecture.
func selected(s *workspace.Selection, optional bool) cobra.PositionalArgs {
	return func(_ *cobra.Command, names []string) error {
		s.Names = names
		s.All = s.All || optional && len(names) == 0 && s.Set == ""
		return s.Check()
	}
}
