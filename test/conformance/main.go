package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r := runner{}
	flag.StringVar(&r.e2e, "e2e", "e2e.test", "the test program")
	flag.StringVar(&r.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig of the cluster")
	flag.StringVar(&r.kubectl, "kubectl", "kubectl", "the kubectl that tests run")
	flag.StringVar(&r.out, "out", "conformance", "folder for logs, reports and summary.md")
	flag.StringVar(&r.skip, "skip", "", "pattern of names to leave out besides")
	flag.StringVar(&r.focus, "focus", "", "pattern of names: these tests instead of packages, of the conformance suite or not")
	flag.BoolVar(&r.dryRun, "dry-run", false, "only list the tests")
	flag.IntVar(&r.procs, "procs", 1, "how many tests run at a time; those that say [Serial] run by themselves, after the others")
	flag.Int64Var(&r.seed, "seed", 0, "order of the tests, with more than one process; 0: a random one, which is printed")
	flag.DurationVar(&r.timeout, "timeout", time.Hour, "time for one package")
	flag.Parse()
	if err := r.run(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

type runner struct {
	e2e, kubeconfig, kubectl, out, skip, focus string
	dryRun                                     bool
	timeout                                    time.Duration
	procs                                      int
	seed                                       int64
}

// run runs the packages of these names, all if there are none. It fails if a test does.
func (r *runner) run(ctx context.Context, names []string) error {
	run, err := r.chosen(names)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if r.procs > 1 && r.seed == 0 {
		r.seed = rand.Int64()
		fmt.Println("seed", r.seed)
	}
	var results []result
	var failed int
	for _, p := range run {
		specs, err := r.pack(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if p.tests == 0 {
			p.tests = len(specs)
		}
		res := result{p, specs}
		failed += len(res.of("failed"))
		fmt.Println(res)
		results = append(results, res)
	}
	if err := os.WriteFile(filepath.Join(r.out, "summary.md"), []byte(summary(results)), 0o644); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d tests failed: see %s", failed, filepath.Join(r.out, "summary.md"))
	}
	return nil
}

// chosen are the packages of these names, all if there are none; with a focus the one package of what it matches.
func (r *runner) chosen(names []string) ([]pack, error) {
	if r.focus != "" {
		if len(names) > 0 {
			return nil, fmt.Errorf("-focus runs tests instead of packages: leave out %s", strings.Join(names, " "))
		}
		return []pack{{name: "focus", title: r.focus, exact: r.focus}}, nil
	}
	if len(names) == 0 {
		return packs, nil
	}
	var run []pack
	for _, name := range names {
		i := slices.IndexFunc(packs, func(p pack) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no package %q: P1 to P%d", name, len(packs))
		}
		run = append(run, packs[i])
	}
	return run, nil
}

// pack runs one package and returns its tests. That tests fail is no error.
func (r *runner) pack(ctx context.Context, p pack) ([]spec, error) {
	if r.procs <= 1 || r.dryRun {
		return r.process(ctx, p, p.name, r.dryRun)
	}
	listed, err := r.process(ctx, p, p.name+".list", true)
	if err != nil {
		return nil, err
	}
	side, alone := share(listed, r.procs, rand.New(rand.NewPCG(uint64(r.seed), 0)))
	parts := make([][]spec, len(side))
	var g errgroup.Group
	for i, names := range side {
		g.Go(func() (err error) {
			parts[i], err = r.process(ctx, only(p, names), fmt.Sprintf("%s.%d", p.name, i+1), false)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if len(alone) > 0 {
		last, err := r.process(ctx, only(p, alone), p.name+".serial", false)
		if err != nil {
			return nil, err
		}
		parts = append(parts, last)
	}
	return slices.Concat(parts...), nil
}

// share deals the tests out in random order: those that can run side by side to n processes, and those that cannot.
func share(specs []spec, n int, random *rand.Rand) (side [][]string, alone []string) {
	side = make([][]string, min(n, len(specs)))
	dealt := 0
	for _, i := range random.Perm(len(specs)) {
		name := specs[i].name
		if strings.Contains(name, "[Serial]") {
			alone = append(alone, name)
			continue
		}
		side[dealt%len(side)] = append(side[dealt%len(side)], name)
		dealt++
	}
	return slices.DeleteFunc(side, func(names []string) bool { return len(names) == 0 }), alone
}

// only is the package with just the tests of these names.
func only(p pack, names []string) pack {
	for i, name := range names {
		names[i] = regexp.QuoteMeta(name)
	}
	p.exact = "(^| )(" + strings.Join(names, "|") + ")$" // the name of the suite stands before
	return p
}

// process runs tests of a package in one process, whose log and report are called name.
func (r *runner) process(ctx context.Context, p pack, name string, dry bool) ([]spec, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout+time.Minute)
	defer cancel()
	report := filepath.Join(r.out, name+".json")
	log, err := os.Create(filepath.Join(r.out, name+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, r.e2e, r.args(p, report, dry)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it cleans up and reports
	cmd.WaitDelay = time.Minute
	ran := cmd.Run()
	if err := log.Close(); err != nil {
		return nil, err
	}
	specs, err := read(report)
	if err != nil {
		return nil, errors.Join(ran, err, fmt.Errorf("see %s", log.Name()))
	}
	return specs, nil
}

func (r *runner) args(p pack, report string, dry bool) []string {
	focus := `\[Conformance\]`
	if p.focus != "" {
		focus = "(" + p.focus + ").*" + focus
	}
	if p.exact != "" {
		focus = p.exact
	}
	args := []string{
		"--provider=skeleton", "--kubeconfig=" + r.kubeconfig, "--kubectl-path=" + r.kubectl, "--num-nodes=1",
		"--allowed-not-ready-nodes=0", "--disable-log-dump", "--dump-logs-on-failure=false",
		"--ginkgo.no-color", "--ginkgo.v", "--ginkgo.timeout=" + r.timeout.String(), "--ginkgo.json-report=" + report,
		"--ginkgo.focus=" + focus, "--ginkgo.dry-run=" + fmt.Sprint(dry),
	}
	if p.exact != "" {
		args = append(args, "--ginkgo.randomize-all", fmt.Sprintf("--ginkgo.seed=%d", r.seed))
	}
	for _, f := range p.files {
		args = append(args, "--ginkgo.focus-file=test/e2e/(common/)?"+f+`\.go`)
	}
	for _, s := range []string{p.skip, r.skip} {
		if s != "" {
			args = append(args, "--ginkgo.skip="+s)
		}
	}
	return args
}

// summary is the results as Markdown: a table, then the names of what did not pass.
func summary(results []result) string {
	var b strings.Builder
	b.WriteString("| package | tests | passed | failed | left out |\n|---|---|---|---|---|\n")
	for _, r := range results {
		passed, failed := len(r.of("passed")), len(r.of("failed"))
		fmt.Fprintf(&b, "| %s %s | %d | %d | %d | %d |\n", r.name, r.title, r.tests, passed, failed, r.tests-passed-failed)
	}
	for _, r := range results {
		failed := r.of("failed")
		slices.SortFunc(failed, func(a, b spec) int { return cmp.Compare(a.name, b.name) })
		for _, s := range failed {
			fmt.Fprintf(&b, "\n- %s: %s (%s)\n  %s\n", r.name, s.name, s.time.Round(time.Second), s.why)
		}
	}
	return b.String()
}
