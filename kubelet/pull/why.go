package pull

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// refusals are why an image did not come, for each credential that was tried; each reason once.
type refusals struct{ why []string }

func (r *refusals) add(message string) {
	if !slices.Contains(r.why, message) {
		r.why = append(r.why, message)
	}
}

func (r *refusals) Error() string {
	if len(r.why) == 1 {
		return r.why[0]
	}
	return "[" + strings.Join(r.why, ", ") + "]"
}

// explain finds the reason for an error of the runtime: CRI has names for two, which begin the message.
func explain(image string, err error) (reason, message string) {
	for reason, why := range map[string]string{"RegistryUnavailable": "the registry is unavailable", "SignatureValidationFailed": "the signature validation failed"} {
		if rest, ok := strings.CutPrefix(err.Error(), reason); ok {
			return reason, fmt.Sprintf("image pull failed for %s because %s%s", image, why, rest)
		}
	}
	return "ErrImagePull", err.Error()
}

// errRate is Kubernetes' word for more pulls than are allowed.
var errRate = errors.New("pull QPS exceeded")

// bucket bounds a rate: it holds up to burst tokens, and gets perSecond of them each second. Without a rate all may pass.
type bucket struct {
	perSecond, burst float64

	mu   sync.Mutex // guards all below
	have float64
	at   time.Time // of have
}

const defaultBurst = 10

func newBucket(perSecond, burst int) bucket {
	if burst == 0 {
		burst = defaultBurst
	}
	return bucket{perSecond: float64(perSecond), burst: float64(burst), have: float64(burst)}
}

func (b *bucket) take(now time.Time) bool {
	if b.perSecond == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.at.IsZero() {
		b.have = min(b.have+now.Sub(b.at).Seconds()*b.perSecond, b.burst)
	}
	b.at = now
	if b.have < 1 {
		return false
	}
	b.have--
	return true
}
