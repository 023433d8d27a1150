package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"proa.dev/test/machine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := &bench{}
	flag.StringVar(&b.bin, "bin", "bin", "folder with proa, kubectl and images")
	flag.StringVar(&b.out, "o", "bin/bench", "where to write, without .md and .json")
	flag.IntVar(&b.runs, "runs", 5, "cold starts to take the median of")
	only := flag.String("only", "start,pods,node,logs,idle,load,wide,watch,stored,custom,nodes", "what to measure")
	hollowNodes := flag.Bool("simulate", false, "play simulated nodes for a running cluster (the benchmark starts itself so)")
	lines := flag.Int64("write", 0, "write so many bytes of lines (a container of the benchmark does)")
	length := flag.Int("line", 100, "bytes of these lines")
	atOnce := flag.Int("chunk", 0, "bytes of one write of them; 0: each by itself")
	flag.Parse()
	if *lines > 0 {
		if err := writeLines(*lines, *length, *atOnce); err != nil {
			fmt.Fprintln(os.Stderr, "write:", err)
			os.Exit(1)
		}
		return
	}
	if *hollowNodes {
		if err := simulate(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "simulate:", err)
			os.Exit(1)
		}
		return
	}
	if err := b.run(ctx, strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	bin, out string
	runs     int
	rows     []row
}

// row is one line of the table.
type row struct {
	Measure string `json:"measure"`
	Today   string `json:"today"`
	First   string `json:"first"`
	Goal    string `json:"goal"`
}

func (b *bench) add(measure, first, goal, format string, args ...any) {
	r := row{measure, fmt.Sprintf(format, args...), first, goal}
	fmt.Printf("%-62s %-34s first %-18s goal %s\n", r.Measure, r.Today, r.First, r.Goal)
	b.rows = append(b.rows, r)
}

func (b *bench) run(ctx context.Context, parts []string) error {
	for _, part := range parts {
		var err error
		switch part {
		case "start":
			err = b.coldStarts(ctx)
		case "pods":
			err = b.with(ctx, "", b.pods)
		case "node":
			err = b.with(ctx, "", b.nodeRows)
		case "logs":
			err = b.with(ctx, logConfig, b.logRates)
		case "idle":
			err = b.with(ctx, "", b.idle)
		case "load":
			err = b.with(ctx, "", b.load)
		case "wide":
			err = b.with(ctx, "", b.wide)
		case "watch":
			err = b.with(ctx, "", b.fanOut)
		case "stored":
			err = b.with(ctx, "disable: [kubelet]\n", b.stored)
		case "custom":
			err = b.with(ctx, "disable: [kubelet]\n", b.customKinds)
		case "nodes":
			err = b.with(ctx, "disable: [kubelet]\n", b.nodes)
		default:
			err = errors.New("there is no such measure")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	if info, err := os.Stat(b.bin + "/proa"); err == nil {
		b.add("daemon binary", "70 MB", "45 MB", "%.1f MB", float64(info.Size())/1e6)
	}
	return b.write()
}

// with runs one measure on a fresh machine with a running cluster, and removes both.
func (b *bench) with(ctx context.Context, extra string, measure func(context.Context, *host) error) (err error) {
	h, err := newHost(b.bin, extra)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.up(ctx); err != nil {
		return err
	}
	return measure(ctx, h)
}

// host is a machine and what is known of its cluster.
type host struct {
	*machine.Machine
	api  *api
	node bool // this machine is a node
}

func newHost(bin, extra string) (*host, error) {
	dir, err := os.MkdirTemp("", "proa-bench-")
	if err != nil {
		return nil, err
	}
	m, err := machine.New(bin, dir, extra)
	if err != nil {
		return nil, err
	}
	return &host{Machine: m, node: !strings.Contains(extra, "kubelet]")}, nil
}

func (h *host) up(ctx context.Context) error {
	if out, err := h.Command("proa", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("proa up: %w: %s", err, out)
	}
	var err error
	if h.api, err = connect(h.Machine); err != nil || !h.node {
		return err
	}
	if out, err := h.Command("proa", "image", "import", h.Bin+"/images/shop-web.tar", h.Bin+"/images/shop-store.tar").CombinedOutput(); err != nil {
		return fmt.Errorf("proa image import: %w: %s", err, out)
	}
	return nil
}

func (h *host) close() error {
	out, err := h.Command("proa", "reset", "--yes").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("proa reset: %w: %s", err, out)
	}
	return errors.Join(err, h.Close(), os.RemoveAll(h.Dir))
}

// poll calls ok every 5 ms until it is true.
func poll(ctx context.Context, limit time.Duration, ok func() bool) error {
	for end := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %s", limit)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}
