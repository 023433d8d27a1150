package flow

// longestRetry bounds what Retry-After says, in seconds.
const longestRetry = 32

// dropped is how many requests of a level were refused of late: the more, the longer others are told to stay away. Seconds are whole ones
// of any clock.
type dropped struct {
	history []second // of the last seconds with refusals, the latest last
	changed int64
	retry   int64 // minus 1, so that the zero value says 1
}

type second struct{ at, count int64 }

// after is what Retry-After says.
func (d *dropped) after() int { return int(d.retry) + 1 }

// add notes a refusal.
func (d *dropped) add(now int64) {
	if n := len(d.history); n > 0 && d.history[n-1].at == now {
		d.history[n-1].count++
		return
	}
	retry := d.retry + 1
	oldest := 0
	for oldest < len(d.history) && now-d.history[oldest].at > min(2*retry, longestRetry) {
		oldest++
	}
	d.history = append(d.history[:copy(d.history, d.history[oldest:])], second{now, 1})
	var recent int64
	for _, s := range d.history {
		if s.at < now && now-s.at <= retry {
			recent += s.count
		}
	}
	switch {
	case now-d.changed >= retry && recent >= 3*retry:
		d.retry, d.changed = min(2*retry, longestRetry)-1, now
	case recent < retry && retry > 1:
		d.retry--
	}
}
