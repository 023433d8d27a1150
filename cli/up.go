package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"proa.dev/process"
)

// startLimit bounds the wait for a node to become Ready.
const startLimit = 2 * time.Minute

func up(ctx context.Context, c *call) error {
	began := time.Now()
	if pid := process.Running(c.config); pid != 0 {
		fmt.Fprintf(c.out, "proa runs already (process %d)\n", pid)
	} else if err := start(ctx, c); err != nil {
		return err
	}
	path, name, err := mergeKubeconfig(c)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "ready in %s; context %q in %s\n\nNext:\n", round(time.Since(began)), name, path)
	flag := ""
	if os.Getenv("KUBECONFIG") != "" && path != os.Getenv("KUBECONFIG") {
		flag = " --kubeconfig " + path
	}
	for _, next := range []string{"get nodes", "create deployment web --image=IMAGE --port=8080", "get pods --all-namespaces --watch"} {
		fmt.Fprintf(c.out, "  kubectl --context %s%s %s\n", name, flag, next)
	}
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// start runs "proa server" with the same flags in the background and tells its steps as they happen.
func start(ctx context.Context, c *call) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	logPath := filepath.Join(c.config.DataDir, "proa.log")
	if err := os.MkdirAll(c.config.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer log.Close()
	daemon := exec.Command(self, append([]string{"server"}, c.words...)...)
	daemon.Stdout, daemon.Stderr = log, log // it stays in this directory: paths in its words and its configuration may be relative
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	ended := make(chan error, 1) // one value: how the daemon ended, if it does while we look
	go func() { ended <- daemon.Wait(); cancel() }()
	err = followStart(ctx, c)
	select {
	case end := <-ended:
		text, _ := os.ReadFile(logPath)
		return hinted{fmt.Errorf("the daemon ended while starting (%v): %s", end, lastLine(text)), "the whole log is " + logPath}
	default:
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return hinted{fmt.Errorf("not ready after %s", startLimit), "see " + logPath + " and kubectl describe nodes"}
	}
	return err
}

func followStart(ctx context.Context, c *call) error {
	admin := process.OpenAdmin(c.config)
	for {
		err := admin.Steps(ctx, func(s process.Step) {
			fmt.Fprintf(c.out, "  %-24s %8s\n", s.Name, round(s.After))
		})
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		select { // the socket is not there yet
		case <-ctx.Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// lastLine is the last thing that a log says, without the daemon's own "proa: ".
func lastLine(text []byte) string {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		if s, ok := strings.CutPrefix(string(lines[i]), "proa: "); ok {
			return s
		}
	}
	return string(lines[len(lines)-1])
}
