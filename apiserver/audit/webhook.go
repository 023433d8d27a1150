package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Webhook posts events as audit.k8s.io/v1 EventList.
type Webhook struct {
	URL     string
	Client  *http.Client
	Backoff time.Duration   // before the second try; each next wait is half as long again; default 10 s
	Tries   int             // default 5
	Stop    <-chan struct{} // once closed there is no second try; nil: never
}

// errRetry is what may go better another time.
type errRetry struct{ error }

func (e errRetry) Unwrap() error { return e.error }

// Write implements Sink.
func (w *Webhook) Write(events []*Event) error {
	body, err := json.Marshal(map[string]any{"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": struct{}{}, "items": events})
	if err != nil {
		return fmt.Errorf("encode audit events: %w", err)
	}
	wait, tries := w.Backoff, w.Tries
	if wait <= 0 {
		wait = 10 * time.Second
	}
	if tries <= 0 {
		tries = 5
	}
	for try := 1; ; try++ {
		err := w.post(body)
		if err == nil || !errors.As(err, new(errRetry)) || try == tries {
			return err
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-w.Stop:
			again.Stop()
			return err
		}
		wait += wait / 2
	}
}

func (w *Webhook) post(body []byte) error {
	res, err := w.Client.Post(w.URL, "application/json", bytes.NewReader(body))
	if err != nil {
		return errRetry{fmt.Errorf("post audit events: %w", err)}
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	switch {
	case res.StatusCode < 300:
		return nil
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		return errRetry{fmt.Errorf("post audit events to %s: %s", w.URL, res.Status)}
	}
	return fmt.Errorf("post audit events to %s: %s", w.URL, res.Status)
}
