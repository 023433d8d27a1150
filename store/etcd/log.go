package etcd

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap/zapcore"
)

// slogCore passes etcd's warnings and errors on to slog. What etcd calls info (hundreds of lines per start) is dropped.
type slogCore struct {
	log    *slog.Logger
	quiet  *atomic.Bool // the member starts or stops: then etcd warns of what is as it should be
	fields []zapcore.Field
}

// expected are warnings that say nothing to the user of a member without listeners, users and peers.
var expected = []string{
	"simple token is not cryptographically signed", "Failed to detect schema version", "failed to update storage version",
	"check file permission",
}

func (c *slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *slogCore) With(f []zapcore.Field) zapcore.Core {
	return &slogCore{log: c.log, quiet: c.quiet, fields: append(c.fields[:len(c.fields):len(c.fields)], f...)}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields)+1)
	attrs = append(attrs, slog.String("from", "etcd"))
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	if level == slog.LevelWarn && c.quiet.Load() || isExpected(e.Message) {
		level = slog.LevelDebug
	}
	c.log.LogAttrs(context.Background(), level, e.Message, attrs...)
	return nil
}

func (c *slogCore) Sync() error { return nil }

func isExpected(msg string) bool {
	for _, m := range expected {
		if strings.HasPrefix(msg, m) {
			return true
		}
	}
	return false
}

// fatal is what etcd's logger calls where etcd would end the process or panic, e.g. when the log cannot be written. It keeps
// the first cause and ends the goroutine, so that Run can return an error and the process can end in good order.
type fatal struct {
	happened chan struct{}
	once     sync.Once
	err      error // written before happened is closed
}

func newFatal() *fatal { return &fatal{happened: make(chan struct{})} }

// OnWrite implements zapcore.CheckWriteHook.
func (f *fatal) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	f.once.Do(func() {
		f.err = &fatalError{msg: e.Message}
		for _, field := range fields {
			if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
				f.err = &fatalError{msg: e.Message, err: err}
			}
		}
		close(f.happened)
	})
	runtime.Goexit()
}

func (f *fatal) cause() error { <-f.happened; return f.err }

type fatalError struct {
	msg string
	err error
}

func (e *fatalError) Error() string {
	if e.err == nil {
		return "etcd: " + e.msg
	}
	return "etcd: " + e.msg + ": " + e.err.Error()
}

func (e *fatalError) Unwrap() error { return e.err }
