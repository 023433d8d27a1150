package process

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"proa.dev/config"
	"proa.dev/control/podcidr"
	"proa.dev/kit/atomicfile"
)

// rangesFile keeps the pod ranges that the cluster gave this node: its network stands before the server answers, and is removed
// without asking.
func rangesFile(c *config.Config) string { return filepath.Join(c.DataDir, "pod-ranges") }

// nodeRanges is this node's part of the pod ranges: what the server gave to an agent, else the first part.
func nodeRanges(c *config.Config) []netip.Prefix {
	if own, err := readRanges(c); err == nil && len(own) > 0 {
		return own
	}
	return podcidr.First(c.Network.Pods)
}

// readRanges is empty where the server has not given any.
func readRanges(c *config.Config) (own []netip.Prefix, err error) {
	text, err := os.ReadFile(rangesFile(c))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read this node's pod ranges: %w", err)
	}
	return parseRanges(strings.Fields(string(text)))
}

func parseRanges(texts []string) (own []netip.Prefix, err error) {
	for _, t := range texts {
		p, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, fmt.Errorf("read this node's pod ranges: %w", err)
		}
		own = append(own, p)
	}
	return own, nil
}

func writeRanges(c *config.Config, texts []string) error {
	return atomicfile.Write(rangesFile(c), []byte(strings.Join(texts, "\n")+"\n"), 0o600)
}
