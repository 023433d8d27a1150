package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"proa.dev/config"
)

// command is one word after "proa".
type command struct {
	name  string
	args  string // what may follow, for the usage line
	short string
	root  bool // needs root
	run   func(ctx context.Context, c *call) error
}

// call is one run of a command.
type call struct {
	config *config.Config
	args   []string
	flags  map[string]bool   // switches of the command, and flags of every command, that were given on the command line
	values map[string]string // flags of the command that have a value
	words  []string          // the flags and arguments as they were given
	out    io.Writer
}

func commands() []command {
	return []command{
		{"up", "", "start a cluster on this machine, or leave the running one alone", true, up},
		{"down", "", "stop the daemon and every container; data stays", true, down},
		{"reset", "[--yes]", "stop everything and remove every trace, data included", true, reset},
		{"status", "", "say what runs", true, status},
		{"server", "", "run the API server, the controllers and a node, in the foreground", true, server},
		{"image", "ls | pull NAME... | push NAME... | import FILE... | export NAME... [--output=FILE] | tag NAME NEW | rm NAME...", "look after the images of this node", true, image},
		{"secrets", "reencrypt [RESOURCE...]", "rewrite what is stored with an older key, or not encrypted", true, secrets},
		{"agent", "", "join this machine to the server of --server-kubeconfig, in the foreground", true, agent},
		{"runtime", "", "run the container runtime alone, for another kubelet, in the foreground", true, runtimeAlone},
		{"kubeconfig", "[--merge | --node=NAME --node-ip=IP]", "print the administrator's kubeconfig, or merge it into yours, or one for a node that joins", true, kubeconfig},
		{"version", "", "print the version", false, version},
	}
}

// hinted is an error with the next step for a person.
type hinted struct {
	err  error
	hint string
}

func (h hinted) Error() string { return h.err.Error() }
func (h hinted) Unwrap() error { return h.err }

// Main runs one command and returns the exit code: 0, 1 for a failure, 2 for wrong words.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, args, os.Stdout)
	var wrong usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(os.Stderr, "proa: %s\n%s", wrong.text, usage())
		return 2
	}
	fmt.Fprintf(os.Stderr, "proa: %v\n", err)
	var h hinted
	if errors.As(err, &h) {
		fmt.Fprintf(os.Stderr, "hint: %s\n", h.hint)
	}
	return 1
}

type usageError struct{ text string }

func (u usageError) Error() string { return u.text }

func usage() string {
	var b strings.Builder
	b.WriteString("\nusage: proa COMMAND [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-11s %s\n", c.name, c.short)
	}
	b.WriteString("\nflags of every command (each also as a PROA_* variable; the rest stands in the configuration file):\n\n")
	for _, s := range settings(new(config.Config), new(string)) {
		fmt.Fprintf(&b, "  --%-16s %s\n", s.name, s.text)
	}
	return b.String()
}

func dispatch(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Fprint(out, strings.TrimPrefix(usage(), "\n"))
		return nil
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		in, err := parse(c, args[1:])
		if err != nil {
			return err
		}
		in.out = out
		if c.root && os.Geteuid() != 0 {
			return hinted{fmt.Errorf("%s needs root: it makes namespaces, cgroups and mounts", c.name), "run it with sudo"}
		}
		return c.run(ctx, in)
	}
	return usageError{fmt.Sprintf("there is no command %q", args[0])}
}

// setting is a flag that every command takes.
type setting struct {
	name, text string
	set        func(string)
}

func settings(c *config.Config, file *string) []setting {
	into := func(p *string) func(string) { return func(v string) { *p = v } }
	return []setting{
		{"config", "configuration file (default /etc/proa/config.yaml, if there is one)", into(file)},
		{"node", "name of this machine in the cluster (default: the host name)", into(&c.Node)},
		{"data-dir", "what must outlive a reboot (default /var/lib/proa)", into(&c.DataDir)},
		{"run-dir", "what ends with a reboot (default /run/proa)", into(&c.RunDir)},
		{"api-listen", "address of the API (default 0.0.0.0:6443)", into(&c.API.Listen)},
		{"etcd-servers", "an existing etcd cluster, comma separated (default: proa's own store)", func(v string) { c.Etcd.Servers = strings.Split(v, ",") }},
		{"etcd-ca", "CA file of that cluster", into(&c.Etcd.CA)},
		{"etcd-cert", "client certificate for that cluster", into(&c.Etcd.Cert)},
		{"etcd-key", "key of that certificate", into(&c.Etcd.Key)},
		{"runtime", "CRI socket of another runtime (default: proa's own)", into(&c.Runtime.Endpoint)},
		{"oci-runtime", "runc-compatible binary (default: proa's own)", into(&c.Runtime.OCI)},
		{"server-kubeconfig", "for agent: what proa kubeconfig --node=NAME printed on the server", into(&c.ServerKubeconfig)},
		{"kubeconfig", "file to merge the cluster's context into", into(&c.Kubeconfig)},
		{"log-level", "debug, info, warn or error", into(&c.Log.Level)},
	}
}

// parse reads the configuration file, then PROA_* variables, then flags; later ones win.
func parse(c command, args []string) (*call, error) {
	cfg, file := new(config.Config), ""
	in := &call{config: cfg, flags: map[string]bool{}, values: map[string]string{}, words: args}
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	given := map[string]string{}
	all := settings(cfg, &file)
	for _, s := range all {
		if v, ok := os.LookupEnv("PROA_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))); ok {
			given[s.name] = v
		}
		fs.Func(s.name, s.text, func(v string) error { given[s.name], in.flags[s.name] = v, true; return nil })
	}
	for _, name := range switches(c) {
		if name, _, valued := strings.Cut(name, "="); valued {
			if fs.Lookup(name) == nil {
				fs.Func(name, "", func(v string) error { in.values[name] = v; return nil })
			}
			continue
		}
		fs.BoolFunc(name, "", func(string) error { in.flags[name] = true; return nil })
	}
	for rest := args; ; {
		if err := fs.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, usageError{fmt.Sprintf("usage: proa %s %s", c.name, c.args)}
			}
			return nil, usageError{fmt.Sprintf("%s: %v", c.name, err)}
		}
		if fs.NArg() == 0 {
			break
		}
		in.args = append(in.args, fs.Arg(0))
		rest = fs.Args()[1:]
	}
	file = given["config"]
	if err := readConfig(cfg, file); err != nil {
		return nil, err
	}
	for _, s := range all {
		if v, ok := given[s.name]; ok {
			s.set(v)
		}
	}
	cfg.Complete()
	return in, cfg.Check()
}

// switches are the flags that c's usage names; those with a value as "name=VALUE".
func switches(c command) (names []string) {
	for _, word := range strings.Fields(c.args) {
		if name, ok := strings.CutPrefix(strings.Trim(word, "[]"), "--"); ok {
			names = append(names, name)
		}
	}
	return names
}

const defaultConfig = "/etc/proa/config.yaml"

func readConfig(cfg *config.Config, file string) error {
	if file != "" {
		return cfg.Read(file)
	}
	if err := cfg.Read(defaultConfig); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
