package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/pkg/v3/traceutil"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/etcd/server/v3/storage/mvcc"

	"proa.dev/store"
)

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, error) {
	srv, err := s.server(ctx)
	if err != nil {
		return store.KV{}, err
	}
	// The shared read transaction copies no buffer but holds writers off: right for one key, wrong for a list.
	tx := srv.KV().Read(mvcc.SharedBufReadTxMode, traceutil.TODO())
	defer tx.End()
	res, err := tx.Range(ctx, []byte(key), nil, mvcc.RangeOptions{})
	if err != nil {
		return store.KV{}, s.readError("get", key, err)
	}
	if len(res.KVs) == 0 {
		return store.KV{}, fmt.Errorf("get %s: %w", key, store.ErrNotFound)
	}
	return fromKV(res.KVs[0]), nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, opt store.ListOptions) (store.Page, error) {
	srv, err := s.server(ctx)
	if err != nil {
		return store.Page{}, err
	}
	from, end := prefixRange(prefix, opt.From)
	// One more than asked tells etcd nothing; the count of the rest it takes from its index in memory.
	tx := srv.KV().Read(mvcc.ConcurrentReadTxMode, traceutil.TODO())
	defer tx.End()
	res, err := tx.Range(ctx, from, end, mvcc.RangeOptions{Rev: opt.Rev, Limit: int64(opt.Limit), WithTotalCount: true})
	if err != nil {
		return store.Page{}, s.readError("list", prefix, err)
	}
	page := store.Page{Rev: opt.Rev, Count: int64(res.Count), KVs: make([]store.KV, len(res.KVs))}
	if page.Rev == 0 {
		page.Rev = res.Rev
	}
	for i, kv := range res.KVs {
		page.KVs[i] = fromKV(kv)
	}
	return page, nil
}

// Size is how many bytes the store's file has; 0 before it is open.
func (s *Store) Size() int64 {
	select {
	case <-s.ready:
		return s.srv.Backend().Size()
	default:
		return 0
	}
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, w store.Write) (int64, error) {
	srv, err := s.server(ctx)
	if err != nil {
		return 0, err
	}
	if !w.Delete {
		if err := s.space.check(int64(len(w.Key)+len(w.Value)), srv.Backend().SizeInUse(), time.Now()); err != nil {
			return 0, err
		}
	}
	req := &pb.TxnRequest{
		Compare: []*pb.Compare{{
			Key: []byte(w.Key), Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: w.If},
		}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(w.Key)}}}},
	}
	if w.Delete {
		req.Success = []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(w.Key)}}}}
	} else {
		req.Success = []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: []byte(w.Key), Value: w.Value}}}}
	}
	// etcd's own wait for a write outlasts a log that cannot be written by 15 seconds.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	res, err := srv.Txn(ctx, req)
	for errors.Is(err, etcderrors.ErrTooManyRequests) {
		// 5,000 writes are under way; etcd took none of this one.
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return 0, fmt.Errorf("write %s: %w", w.Key, err)
		}
		res, err = srv.Txn(ctx, req)
	}
	if err != nil {
		return 0, s.writeError(w.Key, err)
	}
	if !res.Succeeded {
		return 0, conflict(w.Key, res.Responses[0].GetResponseRange().GetKvs())
	}
	return res.Header.GetRevision(), nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Revision implements store.Store. The member's own revision is linearizable: a write returns to its caller only after it
// has been applied here, and nobody else applies writes.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	srv, err := s.server(ctx)
	if err != nil {
		return 0, err
	}
	rev := srv.KV().Rev()
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		w.wants(rev)
	}
	return rev, nil
}

// Compact implements store.Store.
func (s *Store) Compact(ctx context.Context, rev int64) error {
	srv, err := s.server(ctx)
	if err != nil {
		return err
	}
	if _, err := srv.Compact(ctx, &pb.CompactionRequest{Revision: rev}); err != nil {
		return fmt.Errorf("compact to %d: %w", rev, s.readError("compact", "", err))
	}
	return nil
}

func (s *Store) readError(verb, key string, err error) error {
	switch {
	case errors.Is(err, mvcc.ErrCompacted):
		return fmt.Errorf("%s %s: %w", verb, key, store.ErrCompacted)
	case errors.Is(err, mvcc.ErrFutureRev):
		return fmt.Errorf("%s %s: %w", verb, key, store.ErrFuture)
	}
	return s.explain(fmt.Errorf("%s %s: %w", verb, key, err))
}

func (s *Store) writeError(key string, err error) error {
	select {
	case <-s.fatal.happened: // the disk, rather than what etcd says about its end
		return s.explain(fmt.Errorf("write %s: %w", key, s.fatal.cause()))
	default:
	}
	if s.life.Err() != nil {
		err = errStopped
	}
	if errors.Is(err, etcderrors.ErrRequestTooLarge) {
		return fmt.Errorf("write %s: %w", key, store.ErrTooLarge)
	}
	return s.explain(fmt.Errorf("write %s: %w", key, err))
}

func conflict(key string, kvs []*mvccpb.KeyValue) *store.Conflict {
	c := &store.Conflict{Key: key}
	if len(kvs) > 0 {
		kv := fromKV(kvs[0])
		c.Current = &kv
	}
	return c
}

func fromKV(kv *mvccpb.KeyValue) store.KV {
	return store.KV{Key: string(kv.GetKey()), Value: kv.GetValue(), Rev: kv.GetModRevision()}
}

// prefixRange is the half-open range of keys with a prefix, from on. An end that is empty but not nil means "to the last
// key" to etcd's index.
func prefixRange(prefix, from string) (key, end []byte) {
	if from == "" {
		from = prefix
	}
	if from == "" {
		from = "\x00"
	}
	if prefix == "" {
		return []byte(from), []byte{}
	}
	e := clientv3.GetPrefixRangeEnd(prefix)
	if e == "\x00" { // a prefix of 0xff only
		return []byte(from), []byte{}
	}
	return []byte(from), []byte(e)
}
