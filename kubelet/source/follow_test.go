package source

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"proa.dev/client"
	"proa.dev/object"
)

// server is a Follower whose answers the test gives.
type server struct {
	mu    sync.Mutex
	going map[string]func([]object.Object, error) // by field selector
	began int
}

func (s *server) Follow(ctx context.Context, _ client.Resource, namespace, fields string, fn func([]object.Object, error)) error {
	key := namespace + " " + fields
	s.mu.Lock()
	s.began++
	s.going[key] = fn
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.going, key)
	return ctx.Err()
}

func (s *server) say(t *testing.T, key string, err error, all ...object.Object) {
	t.Helper()
	s.mu.Lock()
	fn := s.going[key]
	s.mu.Unlock()
	if fn == nil {
		t.Fatalf("nobody follows %q", key)
	}
	fn(all, err)
}

func (s *server) state() (going, began int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.going), s.began
}

func secretOf(version, value string, immutable bool) *core.Secret {
	return &core.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s", UID: "1", ResourceVersion: version}, Data: map[string][]byte{"k": []byte(value)}, Immutable: &immutable,
	}
}

// bench is a followed under synctest, with what it told.
type bench struct {
	*followed
	s    *server
	told []string
}

func withFollowed(t *testing.T, lazy bool, test func(t *testing.T, b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{s: &server{going: map[string]func([]object.Object, error){}}}
		b.followed = newFollowed(b.s, "n", lazy)
		b.changed = func(t thing, _, now []object.Object) {
			name := t.kind
			for _, o := range now {
				name += " " + o.GetResourceVersion()
			}
			b.told = append(b.told, name)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); b.run(ctx) }()
		synctest.Wait()
		test(t, b)
		cancel()
		<-done
		synctest.Wait()
		if going, _ := b.s.state(); going != 0 {
			t.Errorf("%d watches go on after the end", going)
		}
	})
}

func (b *bench) wants(t *testing.T, going, began int) {
	t.Helper()
	synctest.Wait()
	if g, n := b.s.state(); g != going || n != began {
		t.Errorf("%d watches go of %d that began, want %d of %d", g, n, going, began)
	}
}

var theSecret = thing{secret, "ns", "s"}

const secretKey = "ns metadata.name=s"

func TestOneWatchForManyPods(t *testing.T) {
	withFollowed(t, false, func(t *testing.T, b *bench) {
		for range 100 {
			b.need(theSecret, true)
		}
		b.wants(t, 1, 1)
		if all, ok := b.get(theSecret); ok || all != nil {
			t.Error("it is known before the server has said anything")
		}
		b.s.say(t, secretKey, nil, secretOf("1", "a", false))
		b.s.say(t, secretKey, nil, secretOf("2", "b", false))
		if all, ok := b.get(theSecret); !ok || len(all) != 1 || all[0].GetResourceVersion() != "2" {
			t.Errorf("%v, %v", all, ok)
		}
		b.s.say(t, secretKey, nil)
		if all, ok := b.get(theSecret); !ok || len(all) != 0 {
			t.Errorf("deleted: %v, %v", all, ok)
		}
		if want := []string{"Secret 1", "Secret 2", "Secret"}; !slices.Equal(b.told, want) {
			t.Errorf("told %q", b.told)
		}
		b.drop(theSecret)
		b.wants(t, 0, 1)
		if _, ok := b.get(theSecret); ok {
			t.Error("it is known although no pod needs it")
		}
	})
}

// TestImmutable: what says that it never changes is not followed any longer, and known all the same.
func TestImmutable(t *testing.T) {
	withFollowed(t, false, func(t *testing.T, b *bench) {
		b.need(theSecret, true)
		b.wants(t, 1, 1)
		b.s.say(t, secretKey, nil, secretOf("1", "a", true))
		b.wants(t, 0, 1)
		for range 2 {
			if all, ok := b.get(theSecret); !ok || len(all) != 1 {
				t.Errorf("%v, %v", all, ok)
			}
			time.Sleep(time.Hour)
		}
		b.need(theSecret, true)
		b.wants(t, 0, 1)
	})
}

// TestRest: what only begins containers is not followed for long, and again when somebody reads it.
func TestRest(t *testing.T) {
	withFollowed(t, false, func(t *testing.T, b *bench) {
		b.need(theSecret, false)
		b.wants(t, 1, 1)
		b.s.say(t, secretKey, nil, secretOf("1", "a", false))
		time.Sleep(4 * time.Minute)
		if _, ok := b.get(theSecret); !ok {
			t.Error("not known after 4 minutes")
		}
		time.Sleep(4 * time.Minute)
		b.wants(t, 1, 1)
		time.Sleep(2 * time.Minute)
		b.wants(t, 0, 1)
		got := make(chan bool)
		go func() { _, ok := b.get(theSecret); got <- ok }()
		b.wants(t, 1, 2)
		b.s.say(t, secretKey, nil, secretOf("2", "b", false))
		if !<-got {
			t.Error("not known after it was read anew")
		}
		b.need(theSecret, true) // now a volume shows it
		time.Sleep(time.Hour)
		b.wants(t, 1, 2)
	})
}

func TestRefused(t *testing.T) {
	withFollowed(t, false, func(t *testing.T, b *bench) {
		b.need(theSecret, true)
		synctest.Wait()
		if !b.follows(secret) {
			t.Error("secrets are not followed")
		}
		b.s.say(t, secretKey, errors.New("forbidden"))
		if _, ok := b.get(theSecret); ok || b.follows(secret) || !b.follows(configMap) {
			t.Errorf("after a refusal: known %v, secrets followed %v, maps %v", ok, b.follows(secret), b.follows(configMap))
		}
		b.s.say(t, secretKey, nil, secretOf("1", "a", false))
		if _, ok := b.get(theSecret); !ok || !b.follows(secret) {
			t.Error("not followed after the refusal was taken back")
		}
	})
}

func TestReadEachTime(t *testing.T) {
	withFollowed(t, true, func(t *testing.T, b *bench) {
		b.need(theSecret, true)
		b.need(thing{claim, "ns", "c"}, true)
		b.wants(t, 1, 1)
		if b.follows(secret) || !b.follows(claim) {
			t.Errorf("secrets are followed: %v, claims: %v", b.follows(secret), b.follows(claim))
		}
	})
}
