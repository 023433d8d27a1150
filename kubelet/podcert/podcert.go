package podcert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	certificates "k8s.io/api/certificates/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"proa.dev/client"
	"proa.dev/kit/prom"
	"proa.dev/object"
)

const (
	spread     = 5 * time.Minute  // a renewal begins within so long after its time, so that not all nodes ask at once
	overdue    = 10 * time.Minute // after its time a renewal that has not come is worth an event
	tryAgainIn = time.Minute      // after a renewal could not be asked for
)

// Recorder writes events.
type Recorder interface {
	Event(o object.Object, eventtype, reason, format string, args ...any)
}

// Sources finds what requests are made of, and what became of them.
type Sources interface {
	PodRequest(namespace, name string) (*certificates.PodCertificateRequest, error)
	Account(namespace, name string) (*core.ServiceAccount, error)
	ThisNode(name string) (*core.Node, error)
}

// Deps are what a Keeper needs.
type Deps struct {
	Client  client.Client
	Sources Sources
	Node    string
	Events  Recorder
}

// Keeper has the certificates of the node's pods. It is safe for concurrent use.
type Keeper struct {
	Deps

	mu  sync.Mutex // guards all
	all map[place]*credential
}

// place is where a pod wants a certificate.
type place struct {
	pod    types.UID
	volume string
	index  int // of the source in the projected volume
}

// New starts nothing.
func New(d Deps) *Keeper { return &Keeper{Deps: d, all: map[place]*credential{}} }

// Want is a certificate that a pod wants.
type Want struct {
	Pod    *core.Pod
	Volume string
	Index  int // of the source in the projected volume
	Source *core.PodCertificateProjection
	// Shown is what the volume shows now; ok is false if it shows nothing, or not both.
	Shown func() (b Bundle, ok bool)
}

// Bundle is a key and the certificates for it, in PEM, the leaf first.
type Bundle struct{ Key, Chain []byte }

// credential is one certificate's life.
type credential struct {
	signer string

	mu      sync.Mutex // guards all below; held while the API is asked
	bundle  Bundle     // nothing yet, if it has no key
	refresh time.Time  // when to ask for the next one
	end     time.Time  // when it is good no more

	request string // asked for and not answered yet; "": none
	key     []byte // of the request
	verdict error  // why there will never be one
	word    string // "denied" or "failed" then

	toldOverdue, toldExpired bool
}

var errNotIssued = errors.New("credential bundle is not issued yet")

// Get is the certificate, and when to come back; a change of the pod's requests is a reason to come back, too. It asks for one where there
// is none, or where it is time for another.
func (k *Keeper) Get(ctx context.Context, w Want, now time.Time) (Bundle, time.Time, error) {
	c := k.at(w)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bundle.Key == nil && c.request == "" && c.verdict == nil {
		c.resume(w, now)
	}
	if c.request != "" && c.verdict == nil {
		if err := k.look(c, w.Pod); err != nil {
			return Bundle{}, time.Time{}, err
		}
	}
	if c.verdict != nil {
		return Bundle{}, time.Time{}, c.verdict
	}
	var err error
	if c.request == "" && (c.bundle.Key == nil || !now.Before(c.refresh)) {
		err = k.ask(ctx, c, w)
	}
	if c.bundle.Key == nil {
		if err == nil {
			err = errNotIssued
		}
		return Bundle{}, time.Time{}, err
	}
	k.warn(c, w.Pod, now)
	return c.bundle, c.next(now, err), nil
}

func (k *Keeper) at(w Want) *credential {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := place{w.Pod.UID, w.Volume, w.Index}
	if k.all[p] == nil {
		k.all[p] = &credential{signer: w.Source.SignerName}
	}
	return k.all[p]
}

// Forget drops what a pod had.
func (k *Keeper) Forget(uid types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for p := range k.all {
		if p.pod == uid {
			delete(k.all, p)
		}
	}
}

// resume takes what an earlier process has left in the volume. When that was to be renewed is not known: soon.
func (c *credential) resume(w Want, now time.Time) {
	b, ok := w.Shown()
	if !ok {
		return
	}
	pair, err := tls.X509KeyPair(b.Chain, b.Key)
	if err != nil || !now.Before(pair.Leaf.NotAfter) { // not one of ours, or of no use
		return
	}
	c.bundle, c.end = b, pair.Leaf.NotAfter
	c.refresh = now.Add(min(rand.N(spread), c.end.Sub(now)/2))
}

// look sees what has become of the request.
func (k *Keeper) look(c *credential, pod *core.Pod) error {
	r, err := k.Sources.PodRequest(pod.Namespace, c.request)
	if apierrors.IsNotFound(err) {
		c.request = "" // somebody deleted it: another one
		return nil
	}
	if err != nil {
		return fmt.Errorf("while getting PodCertificateRequest %q: %w", pod.Namespace+"/"+c.request, err)
	}
	for _, cond := range r.Status.Conditions {
		switch cond.Type {
		case certificates.PodCertificateRequestConditionTypeIssued:
			if r.Status.BeginRefreshAt == nil || r.Status.NotAfter == nil {
				continue // the API does not let that be
			}
			c.bundle = Bundle{c.key, Clean([]byte(r.Status.CertificateChain))}
			c.refresh, c.end = r.Status.BeginRefreshAt.Add(rand.N(spread)), r.Status.NotAfter.Time
			c.request, c.key, c.toldOverdue, c.toldExpired = "", nil, false, false
		case certificates.PodCertificateRequestConditionTypeDenied, certificates.PodCertificateRequestConditionTypeFailed:
			said := "failed"
			if c.word = said; cond.Type == certificates.PodCertificateRequestConditionTypeDenied {
				said, c.word = "was denied", "denied"
			}
			k.event(pod, cond.Type, "PodCertificateRequest %s %s, reason=%q, message=%q", r.Namespace+"/"+r.Name, said, cond.Reason, cond.Message)
			c.verdict = fmt.Errorf("PodCertificateRequest was permanently %s: reason=%q message=%q", c.word, cond.Reason, cond.Message)
			c.bundle, c.request, c.key = Bundle{}, "", nil
		}
	}
	return nil
}

func (k *Keeper) event(pod *core.Pod, reason, format string, args ...any) {
	if k.Events != nil {
		k.Events.Event(pod, core.EventTypeWarning, reason, format, args...)
	}
}

// ask makes a key and a request for it.
func (k *Keeper) ask(ctx context.Context, c *credential, w Want) error {
	pod := w.Pod
	account, err := k.Sources.Account(pod.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return fmt.Errorf("while fetching service account: %w", err)
	}
	node, err := k.Sources.ThisNode(k.Node)
	if err != nil {
		return fmt.Errorf("while getting node object: %w", err)
	}
	key, stub, err := newKey(w.Source.KeyType)
	if err != nil {
		return err
	}
	r, err := client.Create(ctx, k.Client, &certificates.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		},
		Spec: certificates.PodCertificateRequestSpec{
			SignerName: w.Source.SignerName, PodName: pod.Name, PodUID: pod.UID,
			ServiceAccountName: pod.Spec.ServiceAccountName, ServiceAccountUID: account.UID, NodeName: types.NodeName(k.Node), NodeUID: node.UID,
			MaxExpirationSeconds: w.Source.MaxExpirationSeconds, StubPKCS10Request: stub, UnverifiedUserAnnotations: w.Source.UserAnnotations,
		},
	})
	if err != nil {
		return fmt.Errorf("while creating PodCertificateRequest: %w", err)
	}
	c.request, c.key = r.Name, key
	return nil
}

// warn tells, once each, that a renewal is late and that the certificate is good no more.
func (k *Keeper) warn(c *credential, pod *core.Pod, now time.Time) {
	if !c.toldOverdue && now.After(c.refresh.Add(overdue)) {
		c.toldOverdue = true
		k.event(pod, "CertificateOverdueForRefresh", "PodCertificate refresh overdue")
	}
	if !c.toldExpired && now.After(c.end) {
		c.toldExpired = true
		k.event(pod, "CertificateExpired", "PodCertificate expired")
	}
}

// next is when something is to be done or told without a reason from outside; zero is never.
func (c *credential) next(now time.Time, failed error) (at time.Time) {
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	switch {
	case c.request == "" && failed == nil:
		return c.refresh
	case failed != nil:
		sooner(now.Add(tryAgainIn))
	}
	const after = time.Second // the events tell of what lies behind
	if !c.toldOverdue {
		sooner(c.refresh.Add(overdue + after))
	}
	if !c.toldExpired {
		sooner(c.end.Add(after))
	}
	return at
}

// Page shows how many certificates of pods there are.
func (k *Keeper) Page(p *prom.Page) {
	k.mu.Lock()
	all := slices.Collect(maps.Values(k.all))
	k.mu.Unlock()
	states := map[[2]string]int{}
	for _, c := range all {
		states[[2]string{c.signer, c.state(time.Now())}]++
	}
	if len(states) == 0 {
		return
	}
	p.Head("kubelet_podcertificate_states", "gauge", "[ALPHA] Certificates in volumes of pods, by signer and state.")
	for _, s := range slices.SortedFunc(maps.Keys(states), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		p.Value(prom.Labels("signer_name", s[0], "state", s[1]), float64(states[s]))
	}
}

func (c *credential) state(now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.verdict != nil:
		return c.word
	case c.bundle.Key == nil:
		return "not_yet_issued"
	case now.After(c.end):
		return "expired"
	case now.After(c.refresh.Add(overdue)):
		return "overdue_for_refresh"
	}
	return "fresh"
}
