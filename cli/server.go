package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"proa.dev/config"
	"proa.dev/process"
)

func server(ctx context.Context, c *call) error {
	err := process.Server(ctx, c.config, logger(c.config))
	if errors.Is(err, process.ErrRunning) {
		return hinted{err, "proa status says what runs; another cluster on this machine needs its own --run-dir and --data-dir"}
	}
	return err
}

func logger(c *config.Config) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // checked with the configuration
	opt := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opt))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opt))
}
