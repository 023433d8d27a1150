package etcd

import (
	"context"
	"crypto/rand"
	"errors"
	"expvar"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"proa.dev/store"
)

// Sizes and times of the member. A single member never catches a follower up, so it keeps next to no raft log in memory; its
// ticks only have to be there, for nobody times it out.
const (
	memberName     = "default"
	memberURL      = "http://127.0.0.1:2380" // the name of the only peer; nothing listens there
	snapshotCount  = 2000                    // applied entries between two releases of the log
	catchUpEntries = 100
	walSegment     = 4 << 20
	maxRequest     = 4 << 20 // bytes of one write, above the API's limit of 3 MiB for a body
	tickMillis     = 500
	electionTicks  = 10
	leadEvery      = 300 * time.Microsecond
	stopWithin     = 10 * time.Second

	// Applied writes go from memory into the database in batches. The log is what makes them durable, so a batch may be late; but
	// looking for one ten times a second, as etcd does, is most of what an idle member costs. The limit bounds what reads of the
	// store have to look through.
	batchEvery = time.Second
	batchLimit = 2000

	defaultQuota   = 8 << 30
	defaultMinFree = 64 << 20
)

// Config says where a Store keeps its data. Dir is required, the rest may be zero.
type Config struct {
	// Dir is the data directory, created with mode 0700 if missing. One process at a time may use it.
	Dir string
	// Cluster names the cluster that the data belongs to, e.g. the fingerprint of its CA. It is written down when the
	// directory is new; a directory with another name is refused. Empty: no check.
	Cluster string
	// Quota is how many bytes of live data (values and their history) there may be; 0 is 8 GiB. Beyond it writes fail with
	// store.ErrNoSpace, deletes still work.
	Quota int64
	// MinFree is how many bytes the disk must keep free for a write to be accepted; 0 is 64 MiB, negative is no check. The
	// reserve lets deletes, compaction and a clean stop work on a full disk.
	MinFree int64
	// Log gets etcd's warnings and one line per change of state; nil is slog.Default().
	Log *slog.Logger
}

// Store is an etcd member in this process and the only one of its cluster. Its methods wait until it leads.
type Store struct {
	cfg   Config
	log   *slog.Logger
	space space

	ready chan struct{} // closed once srv may be used
	ended chan struct{} // closed when Run returned
	used  atomic.Bool
	quiet atomic.Bool            // etcd's warnings are of no interest now
	srv   *etcdserver.EtcdServer // set before ready is closed
	fatal *fatal
	life  context.Context // ends with the server, or with the disk under it; the rest of a call then is for nothing
	die   context.CancelFunc

	mu      sync.Mutex // guards watches
	watches map[*watch]struct{}
}

var _ store.Store = (*Store)(nil)

// New prepares a member; nothing is opened or started before Run.
func New(cfg Config) (*Store, error) {
	if cfg.Dir == "" {
		return nil, errors.New("open store: no data directory given")
	}
	if cfg.Quota == 0 {
		cfg.Quota = defaultQuota
	}
	if cfg.MinFree == 0 {
		cfg.MinFree = defaultMinFree
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	life, die := context.WithCancel(context.Background())
	return &Store{
		life: life, die: die, cfg: cfg, log: cfg.Log,
		space: space{dir: cfg.Dir, quota: cfg.Quota, minFree: cfg.MinFree},
		ready: make(chan struct{}), ended: make(chan struct{}), fatal: newFatal(),
		watches: map[*watch]struct{}{},
	}, nil
}

// Ready is closed when the member leads and every acknowledged write of earlier runs can be read.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Run opens the data and serves until ctx ends, then stops cleanly. It may be called once. What it returns early names the
// directory and, where there is one, the fix.
func (s *Store) Run(ctx context.Context) error {
	if s.used.Swap(true) {
		return errors.New("run store: a second time")
	}
	defer close(s.ended)
	defer s.die()
	unlock, err := lockDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := claimDir(s.cfg.Dir, s.cfg.Cluster); err != nil {
		return err
	}
	start := time.Now()
	s.quiet.Store(true)
	srv, err := s.open()
	if errors.Is(err, syscall.ENOSPC) {
		return s.explain(err)
	}
	if err != nil {
		return fmt.Errorf("open store in %s: %w", s.cfg.Dir, err)
	}
	if n := len(srv.Cluster().Members()); n > 1 {
		srv.Cleanup()
		return fmt.Errorf("open store in %s: it holds one member of an etcd cluster of %d; run that cluster and name it with "+
			"--etcd-servers, or restore a snapshot of it here", s.cfg.Dir, n)
	}
	srv.Start()
	defer s.stop(srv)
	if err := s.lead(ctx, srv); err != nil {
		return err
	}
	s.srv = srv
	s.quiet.Store(false)
	close(s.ready)
	s.log.Info("store ready", "dir", s.cfg.Dir, "rev", srv.KV().Rev(), "took", time.Since(start).Round(100*time.Microsecond))
	select {
	case <-ctx.Done():
		return nil
	case <-s.fatal.happened:
		return s.explain(s.fatal.cause())
	case <-srv.StopNotify():
		return fmt.Errorf("store in %s: etcd stopped by itself", s.cfg.Dir)
	}
}

// open builds the server. etcd ends the process or the goroutine when it cannot read its files; so it runs on a goroutine of
// its own, which the hook of the logger ends instead.
func (s *Store) open() (*etcdserver.EtcdServer, error) {
	// A variable of the wal package, read when a segment is made. Every Store sets the same value.
	setSegmentSize.Do(func() { wal.SegmentSizeBytes = walSegment })
	peer, err := url.Parse(memberURL)
	if err != nil {
		return nil, err
	}
	log := zap.New(&slogCore{log: s.log, quiet: &s.quiet}, zap.WithFatalHook(s.fatal), zap.WithPanicHook(s.fatal))
	cfg := config.ServerConfig{
		Name: memberName, DataDir: s.cfg.Dir, Logger: log,
		PeerURLs: types.URLs{*peer}, InitialPeerURLsMap: types.URLsMap{memberName: types.URLs{*peer}},
		InitialClusterToken: rand.Text(), NewCluster: true, // the ids of a new cluster and its member come from it
		SnapshotCount: snapshotCount, SnapshotCatchUpEntries: catchUpEntries, MaxSnapFiles: 2, MaxWALFiles: 2,
		TickMs: tickMillis, ElectionTicks: electionTicks, BootstrapTimeout: time.Second,
		// The quota is checked before a write is proposed, by space: etcd's own applies the write that breaks it, and then
		// stays closed until an operator clears an alarm. Negative switches it off.
		QuotaBackendBytes: -1, MaxRequestBytes: maxRequest, MaxTxnOps: 16,
		BackendBatchInterval: batchEvery, BackendBatchLimit: batchLimit,
		AuthToken: "simple", BcryptCost: 10, TokenTTL: 300,
		WarningApplyDuration: time.Second, WarningUnaryRequestDuration: 2 * time.Second,
		CompactHashCheckTime: time.Hour, DowngradeCheckTime: time.Hour,
		CompactionBatchLimit: 1000, CompactionSleepInterval: 10 * time.Millisecond,
		BootstrapDefragThresholdMegabytes: 128, MaxLearners: 1, Metrics: "basic",
		ServerFeatureGate: features.NewDefaultServerFeatureGate(memberName, log),
		V2Deprecation:     config.V2DeprDefault,
	}
	type result struct {
		srv *etcdserver.EtcdServer
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				s.log.Debug("etcd panicked", "cause", r, "stack", string(debug.Stack()))
				done <- result{err: fmt.Errorf("the log or the database is damaged (%v): restore a backup, or move the "+
					"directory away to start empty", r)}
			}
		}()
		srv, err := etcdserver.NewServer(cfg)
		done <- result{srv, err}
	}()
	select {
	case r := <-done:
		return r.srv, r.err
	case <-s.fatal.happened:
		return nil, s.fatal.cause()
	}
}

var setSegmentSize sync.Once

// lead makes the member leader without waiting for its election timeout and returns once all that was ever acknowledged is
// applied: a linearizable read waits for the first entry of the new term, and with it for all before.
func (s *Store) lead(ctx context.Context, srv *etcdserver.EtcdServer) error {
	id := uint64(srv.MemberID())
	tick := time.NewTicker(leadEvery)
	defer tick.Stop()
	for uint64(srv.Leader()) != id {
		if replayed(id) {
			msg := &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), To: &id, From: &id}
			if err := srv.Process(ctx, msg); err != nil {
				return fmt.Errorf("store in %s: take the lead: %w", s.cfg.Dir, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.fatal.happened:
			return s.explain(s.fatal.cause())
		case <-tick.C:
		}
	}
	for {
		_, err := srv.Range(ctx, &pb.RangeRequest{Key: []byte{0}, CountOnly: true})
		if err == nil {
			break
		}
		// The notice of our own election may come after the read has begun, and ends it.
		if !errors.Is(err, etcderrors.ErrLeaderChanged) {
			return fmt.Errorf("store in %s: read the first revision: %w", s.cfg.Dir, err)
		}
	}
	return s.clearAlarms(ctx, srv)
}

// replayed says whether raft has applied all that the log says is committed. Before that a candidate looks through the rest for
// changes of membership, and it dies if etcd has released a part of it from memory meanwhile. raft's status is to be had through
// expvar only, for the member made last in this process; any other waits for its election timeout, a few seconds.
func replayed(id uint64) bool {
	v, ok := expvar.Get("raft.status").(expvar.Func)
	if !ok {
		return false
	}
	st, ok := v.Value().(raft.Status)
	return ok && st.ID == id && st.Applied >= st.HardState.GetCommit()
}

// clearAlarms drops an alarm that etcd itself raised under a smaller quota; space decides from here on.
func (s *Store) clearAlarms(ctx context.Context, srv *etcdserver.EtcdServer) error {
	for _, a := range srv.Alarms() {
		if a.GetAlarm() == pb.AlarmType_NOSPACE {
			_, err := srv.Alarm(ctx, &pb.AlarmRequest{
				Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.GetMemberID(), Alarm: a.GetAlarm(),
			})
			if err != nil {
				return fmt.Errorf("store in %s: clear the space alarm: %w", s.cfg.Dir, err)
			}
		}
	}
	return nil
}

// stop ends the server: cleanly if it can, but not waiting for ever for goroutines that a full disk took down.
func (s *Store) stop(srv *etcdserver.EtcdServer) {
	s.quiet.Store(true)
	s.die()
	done := make(chan struct{})
	go func() { srv.Stop(); close(done) }()
	limit := stopWithin
	select {
	case <-s.fatal.happened:
		limit = time.Second
	default:
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		s.log.Warn("store did not stop in time; its log is intact", "dir", s.cfg.Dir, "after", limit)
	}
}

// server waits for the member to lead.
func (s *Store) server(ctx context.Context) (*etcdserver.EtcdServer, error) {
	select {
	case <-s.ready:
		return s.srv, nil
	default:
	}
	select {
	case <-s.ready:
		return s.srv, nil
	case <-s.ended:
		return nil, s.explain(errStopped)
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the store: %w", ctx.Err())
	}
}

var errStopped = errors.New("the store has stopped")

// explain adds the directory and the fix to what etcd says.
func (s *Store) explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("store in %s: the disk is full; free some space there and start again, nothing acknowledged is "+
			"lost: %w", s.cfg.Dir, errors.Join(store.ErrNoSpace, err))
	}
	return fmt.Errorf("store in %s: %w", s.cfg.Dir, err)
}

// claimDir writes the cluster's name into a new directory and refuses one that has another.
func claimDir(dir, cluster string) error {
	if cluster == "" {
		return nil
	}
	path := filepath.Join(dir, "cluster")
	have, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return os.WriteFile(path, []byte(cluster+"\n"), 0o600)
	case err != nil:
		return fmt.Errorf("open store in %s: %w", dir, err)
	case string(have) != cluster+"\n":
		return fmt.Errorf("open store in %s: it belongs to another cluster (%.16s..., this one is %.16s...); use another data "+
			"directory, or remove %s to take its data over", dir, have, cluster, path)
	}
	return nil
}
