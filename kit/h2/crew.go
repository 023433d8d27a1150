package h2

import (
	"net/http"
	"sync"
)

// crew are goroutines that answer requests. Who has answered one waits for the next: its stack has grown already, and growing stacks
// would cost a small answer a tenth of its time.
type crew struct {
	mu   sync.Mutex // guards what follows
	free []*hand    // the last to come is the first to go
	over bool       // nobody is wanted any more
}

// mostFree is how many wait for a request. Their stacks shrink while they do.
const mostFree = 16

// hand is one of a crew.
type hand struct{ next chan job }

// job is a request and who answers it.
type job struct {
	stream  *stream
	handler func(http.ResponseWriter, *http.Request)
}

// answer has somebody do j.
func (c *crew) answer(j job) {
	c.mu.Lock()
	if n := len(c.free); n > 0 {
		h := c.free[n-1]
		c.free = c.free[:n-1]
		c.mu.Unlock()
		h.next <- j
		return
	}
	c.mu.Unlock()
	go c.work(j) // nobody waits for it: its stream may be long gone; dismiss ends it when it is free
}

func (c *crew) work(j job) {
	h := &hand{next: make(chan job, 1)}
	for ok := true; ok; j, ok = <-h.next {
		j.stream.run(j.handler)
		j = job{}
		c.mu.Lock()
		if c.over || len(c.free) == mostFree {
			c.mu.Unlock()
			return
		}
		c.free = append(c.free, h)
		c.mu.Unlock()
	}
}

// dismiss ends those who are free.
func (c *crew) dismiss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.free {
		close(h.next)
	}
	c.free, c.over = nil, true
}
