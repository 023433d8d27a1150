package flow

import (
	"cmp"
	"math"
	"slices"
)

// limits are the seats of one level: what it owns, what it keeps in any case, and what it may have at most by borrowing.
type limits struct{ nominal, least, most int }

// shared is a level's part in sharing out the server: its shares, and the percentages of them that it lends and may borrow.
type shared struct {
	shares, lends int32
	borrows       *int32 // nil: as much as there is
}

// divide shares out the server's seats.
func divide(total int, list []shared) []limits {
	var sum float64
	for _, s := range list {
		sum += float64(s.shares)
	}
	out := make([]limits, len(list))
	for i, s := range list {
		if sum > 0 {
			out[i].nominal = int(math.Ceil(float64(total) * float64(s.shares) / sum))
		}
		n := float64(out[i].nominal)
		out[i].least = out[i].nominal - int(math.Round(n*float64(s.lends)/100))
		out[i].most = out[i].nominal + total
		if s.borrows != nil {
			out[i].most = out[i].nominal + int(math.Round(n*float64(*s.borrows)/100))
		}
	}
	return out
}

// wish is what a level would like to have, and between which bounds.
type wish struct{ low, high, target float64 }

// allocate gives each level its wish times a factor that is the same for all, held between its bounds, so that the sum is total. It
// assumes low <= target. Where the bounds do not allow the sum, everybody has the bound that is in the way.
func allocate(total float64, wishes []wish) []float64 {
	const leastTarget = 0.001 // so that a level without demand gets something of what is left over
	out := make([]float64, len(wishes))
	sumAt := func(factor float64) (sum float64) {
		for i, w := range wishes {
			out[i] = max(w.low, min(w.high, factor*max(w.target, leastTarget)))
			sum += out[i]
		}
		return sum
	}
	// The sum grows with the factor, in straight lines between the factors at which a bound begins or ends to hold.
	corners := []float64{0}
	for _, w := range wishes {
		t := max(w.target, leastTarget)
		corners = append(corners, w.low/t, w.high/t)
	}
	slices.SortFunc(corners, cmp.Compare[float64])
	before, sum := 0.0, sumAt(0)
	for _, c := range corners {
		next := sumAt(c)
		if next >= total {
			if next > sum && total > sum {
				sumAt(before + (c-before)*(total-sum)/(next-sum))
			} else {
				sumAt(before)
			}
			return out
		}
		before, sum = c, next
	}
	return out // everybody has as much as he may
}

// smoothing is how much of the last envelope of a level's demand stays after each period in which it was lower: a half after 5 minutes.
const smoothing = 0.977

// demand is how many seats a level had in use and in its queues over a time.
type demand struct {
	sum, squares, span float64 // seat-seconds, seat²-seconds, seconds
	high               int
	smoothed           float64
	now                int
	since              float64 // seconds, on the level's clock, of the last change
}

// set notes that the demand is n from now on.
func (d *demand) set(now float64, n int) {
	d.pass(now)
	d.now = n
	d.high = max(d.high, n)
}

func (d *demand) pass(now float64) {
	if dt := now - d.since; dt > 0 {
		x := float64(d.now)
		d.sum += x * dt
		d.squares += x * x * dt
		d.span += dt
		d.since = now
	}
}

// period ends a period: it renews smoothed, returns the highest demand, and begins the next one.
func (d *demand) period(now float64) (high int) {
	d.pass(now)
	high = d.high
	if d.span > 0 {
		mean := d.sum / d.span
		deviation := math.Sqrt(max(0, d.squares/d.span-mean*mean))
		envelope := mean + deviation
		d.smoothed = max(envelope, smoothing*d.smoothed+(1-smoothing)*envelope)
	}
	d.sum, d.squares, d.span, d.high = 0, 0, 0, d.now
	return high
}

// part is one level's state for lend: its limits, its highest demand of the last period, and the smoothed one.
type part struct {
	limits
	exempt   bool
	high     int
	smoothed float64
}

// lend says how many seats every level has until the next period: those without demand lend to those who have more than they own.
func lend(parts []part) []int {
	var total, least, current int
	for _, p := range parts {
		total += p.nominal
	}
	left := total
	out := make([]int, len(parts))
	wishes := make([]wish, 0, len(parts))
	for i, p := range parts {
		if p.exempt {
			out[i] = max(p.least, p.high)
			left -= out[i]
			continue
		}
		low := max(p.least, min(p.nominal, p.high))
		least += p.least
		current += low
		wishes = append(wishes, wish{float64(low), float64(p.most), max(float64(low), p.smoothed)})
	}
	var given []float64
	fraction := 0.0
	switch {
	case left <= least:
	case left <= current:
		fraction = float64(left-least) / float64(current-least)
	default:
		given = allocate(float64(left), wishes)
	}
	n := 0
	for i, p := range parts {
		if p.exempt {
			continue
		}
		if given != nil {
			out[i] = int(math.Round(given[n]))
		} else {
			out[i] = p.least + int(math.Round((wishes[n].low-float64(p.least))*fraction))
		}
		n++
	}
	return out
}
