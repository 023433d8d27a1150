package flow

import "time"

// Request is what classification looks at.
type Request struct {
	User      string
	Groups    []string
	Verb      string
	Resource  bool   // it is about a resource; else Path counts
	Group     string // API group
	Name      string // of the resource
	Sub       string
	Namespace string // empty: cluster scope
	Path      string
	Version   string // of the API, and the name of the object: only to be shown
	Object    string
}

// Work is how much of the server a request takes: Seats while it runs and Extra seats for Linger after that, in which the watchers
// of what it has written are served.
type Work struct {
	Seats  int // at least 1
	Extra  int
	Linger time.Duration
}

// most is the seats to reserve: they are kept for both parts.
func (w Work) most() int { return max(w.Seats, w.Extra) }

// cost is the seat-seconds, when the running part takes so long.
func (w Work) cost(d time.Duration) float64 {
	return float64(w.Seats)*d.Seconds() + float64(w.Extra)*w.Linger.Seconds()
}

// What requests cost. The shape is Kubernetes', the figures are proa's: a list is put together from encodings that exist already, and an event
// is encoded once for all its watchers, so both are about a tenth of the work that they are there.
const (
	objectsPerSeat  = 1000
	watchesPerSeat  = 100
	maxSeats        = 10
	eventTime       = 5 * time.Millisecond // a seat serves watchesPerSeat watchers in that time
	minWatches      = 100                  // fewer are not worth counting
	levelSeatsShare = 0.15                 // of a level's nominal seats is the most that one request takes
)

// ListWork is the work of a list, or of the beginning of a watch, that goes through so many objects.
func ListWork(objects int) Work {
	return Work{Seats: min(max(1, (objects+objectsPerSeat-1)/objectsPerSeat), maxSeats)}
}

// WriteWork is the work of a write to a resource that so many watch.
func WriteWork(watchers int) Work {
	w := Work{Seats: 1}
	if watchers < minWatches {
		return w
	}
	n := (watchers + watchesPerSeat - 1) / watchesPerSeat
	w.Extra = min(n, maxSeats)
	w.Linger = eventTime * time.Duration(n) / time.Duration(w.Extra)
	return w
}

// within is w with at most so many seats at once: what does not fit beside one another comes one after the other.
func (w Work) within(seats int) Work {
	seats = max(1, seats)
	w.Seats = min(w.Seats, seats)
	if w.Extra > seats {
		w.Linger = w.Linger * time.Duration(w.Extra) / time.Duration(seats)
		w.Extra = seats
	}
	return w
}
