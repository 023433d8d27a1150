package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"

	"proa.dev/store"
)

const (
	dialWithin  = 10 * time.Second
	keepalive   = 10 * time.Second
	maxResponse = 1 << 30 // bytes of one answer; a list of everything may be large
)

// ExternalConfig names an etcd cluster. The files are read again for every new connection, so they may be replaced.
type ExternalConfig struct {
	Endpoints                 []string // "https://10.0.0.1:2379"
	CAFile, CertFile, KeyFile string   // PEM; a cluster without TLS has none
	Log                       *slog.Logger
}

// External is an etcd cluster that somebody else runs.
type External struct {
	cfg ExternalConfig
	c   *clientv3.Client

	streams atomic.Int64 // watches opened so far

	mu      sync.Mutex // guards watches
	watches map[*watch]struct{}
}

var _ store.Store = (*External)(nil)

// Dial prepares a connection. Nothing is sent before Run or the first call.
func Dial(cfg ExternalConfig) (*External, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("connect to etcd: no endpoints given")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	var tc *tls.Config
	if cfg.CAFile != "" || cfg.CertFile != "" {
		var err error
		info := transport.TLSInfo{TrustedCAFile: cfg.CAFile, CertFile: cfg.CertFile, KeyFile: cfg.KeyFile}
		if tc, err = info.ClientConfig(); err != nil {
			return nil, fmt.Errorf("connect to etcd: read certificates: %w", err)
		}
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, TLS: tc, DialTimeout: dialWithin,
		DialKeepAliveTime: keepalive, DialKeepAliveTimeout: keepalive,
		MaxCallSendMsgSize: maxRequest + 1<<20, MaxCallRecvMsgSize: maxResponse,
		Logger: zap.NewNop(), // every failure comes back as an error of a call
	})
	if err != nil {
		return nil, fmt.Errorf("connect to etcd at %v: %w", cfg.Endpoints, err)
	}
	return &External{cfg: cfg, c: c, watches: map[*watch]struct{}{}}, nil
}

// Run checks once that the cluster answers, then holds the connection until ctx ends and closes it.
func (x *External) Run(ctx context.Context) error {
	first, cancel := context.WithTimeout(ctx, dialWithin)
	rev, err := x.Revision(first)
	cancel()
	if err == nil {
		x.cfg.Log.Info("store ready", "endpoints", x.cfg.Endpoints, "rev", rev)
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		err = nil
	}
	// Closing cancels the connection's own context and says so; that is no news.
	if cerr := x.c.Close(); cerr != nil && !errors.Is(cerr, context.Canceled) && err == nil {
		err = fmt.Errorf("disconnect from etcd: %w", cerr)
	}
	return err
}

// Get implements store.Store.
func (x *External) Get(ctx context.Context, key string) (store.KV, error) {
	res, err := x.c.Get(ctx, key)
	if err != nil {
		return store.KV{}, x.explain("get", key, err)
	}
	if len(res.Kvs) == 0 {
		return store.KV{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
	}
	return fromKV(res.Kvs[0]), nil
}

// List implements store.Store.
func (x *External) List(ctx context.Context, prefix string, opt store.ListOptions) (store.Page, error) {
	from, end := prefixRange(prefix, opt.From)
	if len(end) == 0 {
		end = []byte{0} // on the wire this means "to the last key"
	}
	res, err := x.c.Get(ctx, string(from), clientv3.WithRange(string(end)), clientv3.WithLimit(int64(opt.Limit)), clientv3.WithRev(opt.Rev))
	if err != nil {
		return store.Page{}, x.explain("list", prefix, err)
	}
	page := store.Page{Rev: opt.Rev, Count: res.Count, KVs: make([]store.KV, len(res.Kvs))}
	if page.Rev == 0 {
		page.Rev = res.Header.GetRevision()
	}
	for i, kv := range res.Kvs {
		page.KVs[i] = fromKV(kv)
	}
	return page, nil
}

// Apply implements store.Store.
func (x *External) Apply(ctx context.Context, w store.Write) (int64, error) {
	if len(w.Value) > maxRequest {
		// gRPC would refuse it in words of its own. A cluster's own limit may be lower still.
		return 0, fmt.Errorf("write %s: %w", w.Key, store.ErrTooLarge)
	}
	then := clientv3.OpPut(w.Key, string(w.Value))
	if w.Delete {
		then = clientv3.OpDelete(w.Key)
	}
	res, err := x.c.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(w.Key), "=", w.If)).Then(then).Else(clientv3.OpGet(w.Key)).Commit()
	if err != nil {
		return 0, x.explain("write", w.Key, err)
	}
	if !res.Succeeded {
		return 0, conflict(w.Key, res.Responses[0].GetResponseRange().GetKvs())
	}
	return res.Header.GetRevision(), nil
}

// Revision implements store.Store. A count of one key is the cheapest linearizable read.
func (x *External) Revision(ctx context.Context) (int64, error) {
	res, err := x.c.Get(ctx, "\x00", clientv3.WithCountOnly())
	if err != nil {
		return 0, x.explain("read", "the revision", err)
	}
	rev := res.Header.GetRevision()
	x.mu.Lock()
	defer x.mu.Unlock()
	for w := range x.watches {
		w.wants(rev)
	}
	return rev, nil
}

// Compact implements store.Store.
func (x *External) Compact(ctx context.Context, rev int64) error {
	if _, err := x.c.Compact(ctx, rev); err != nil {
		return x.explain("compact to", fmt.Sprint(rev), err)
	}
	return nil
}

// Watch implements store.Store.
func (x *External) Watch(ctx context.Context, prefix string, after int64, fn func(store.Batch) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watch{nudge: make(chan struct{}, 1)}
	w.reached.Store(after)
	x.mu.Lock()
	x.watches[w] = struct{}{}
	x.mu.Unlock()
	defer func() { x.mu.Lock(); delete(x.watches, w); x.mu.Unlock() }()

	key, end := prefixRange(prefix, "")
	if len(end) == 0 {
		end = []byte{0}
	}
	// A stream of its own: progress is asked for per stream, and one slow reader must not hold up another.
	// The client tells streams apart by their metadata.
	ctx = clientv3.WithRequireLeader(metadata.AppendToOutgoingContext(ctx, "proa-watch", strconv.FormatInt(x.streams.Add(1), 10)))
	ch := x.c.Watcher.Watch(ctx, string(key), clientv3.WithRange(string(end)), clientv3.WithRev(after+1), clientv3.WithFragment())
	return x.deliver(ctx, w, ch, prefix, fn)
}

// deliver runs one watch. etcd's client keeps what fn is too slow for in memory.
func (x *External) deliver(ctx context.Context, w *watch, ch clientv3.WatchChan, prefix string, fn func(store.Batch) error) error {
	again := time.NewTimer(time.Hour)
	again.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case res, ok := <-ch:
			if ctx.Err() != nil {
				return nil
			}
			if !ok {
				return fmt.Errorf("watch %s: etcd ended the stream", prefix)
			}
			if err := res.Err(); err != nil {
				return x.explain("watch", prefix, err)
			}
			b := store.Batch{Rev: res.Header.GetRevision()}
			for _, e := range res.Events {
				b.Events = append(b.Events, store.Event{KV: fromKV(e.Kv), Delete: e.Type == clientv3.EventTypeDelete})
				if n := len(b.Events) - 1; b.Events[n].Delete {
					b.Events[n].Value = nil
				}
			}
			if n := len(b.Events); n > 0 {
				b.Rev = b.Events[n-1].Rev // a watch that catches up is not yet where the header is
			}
			if b.Rev <= w.reached.Load() {
				continue
			}
			if err := fn(b); err != nil {
				return err
			}
			w.reached.Store(b.Rev)
		case <-w.nudge:
		case <-again.C:
		}
		if w.reached.Load() < w.wanted.Load() {
			if err := x.c.Watcher.RequestProgress(ctx); err != nil && ctx.Err() == nil {
				return x.explain("watch", prefix, err)
			}
			again.Reset(20 * askAgain)
		}
	}
}

// explain translates etcd's errors.
func (x *External) explain(verb, what string, err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrCompacted):
		err = store.ErrCompacted
	case errors.Is(err, rpctypes.ErrFutureRev):
		err = store.ErrFuture
	case errors.Is(err, rpctypes.ErrRequestTooLarge):
		err = store.ErrTooLarge
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%s %s: etcd at %v: %w: compact and defragment it, then disarm its alarm", verb, what, x.cfg.Endpoints, store.ErrNoSpace)
	default:
		return fmt.Errorf("%s %s: etcd at %v: %w", verb, what, x.cfg.Endpoints, err)
	}
	return fmt.Errorf("%s %s: %w", verb, what, err)
}
