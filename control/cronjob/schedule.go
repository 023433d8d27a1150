package cronjob

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // spec.timeZone must work on a machine without a zone database
)

// schedule is a parsed cron expression: "*/5 9-17 * * MON-FRI". The fields are minute (0-59), hour (0-23), day of month (1-31), month (1-12
// or JAN-DEC) and day of week (0-6, 0 is Sunday, or SUN-SAT). A field is "*" or "?", a number, a range a-b, any of them with a step /n, or a
// list of those with commas. Where both days are restricted, either is enough. "@hourly", "@daily" (or "@midnight"), "@weekly", "@monthly"
// and "@yearly" (or "@annually") stand for such expressions; "@every 90m" counts from the time that it is asked about.
type schedule struct {
	minute, hour, dom, month, dow uint64 // bit n is the value n
	anyDOM, anyDOW                bool
	every                         time.Duration // not 0: only this counts
	zone                          *time.Location
}

type fieldRange struct {
	name     string
	min, max int
	names    []string // names[i] is the value min+i
}

var (
	minutes = fieldRange{"minute", 0, 59, nil}
	hours   = fieldRange{"hour", 0, 23, nil}
	doms    = fieldRange{"day of month", 1, 31, nil}
	months  = fieldRange{"month", 1, 12, strings.Fields("jan feb mar apr may jun jul aug sep oct nov dec")}
	dows    = fieldRange{"day of week", 0, 6, strings.Fields("sun mon tue wed thu fri sat")}
)

// parse reads an expression; zone is where its hours are.
func parse(spec string, zone *time.Location) (*schedule, error) {
	s := &schedule{zone: zone}
	spec = strings.TrimSpace(spec)
	if rest, ok := strings.CutPrefix(spec, "@every "); ok {
		d, err := time.ParseDuration(strings.TrimSpace(rest))
		if err != nil || d < time.Second {
			return nil, fmt.Errorf("schedule %q: want a duration of a second or more", spec)
		}
		s.every = d.Truncate(time.Second)
		return s, nil
	}
	if strings.HasPrefix(spec, "@") {
		long, ok := macro(spec)
		if !ok {
			return nil, fmt.Errorf("schedule %q: unknown descriptor", spec)
		}
		spec = long
	}
	f := strings.Fields(spec)
	if len(f) != 5 {
		return nil, fmt.Errorf("schedule %q: want 5 fields, got %d", spec, len(f))
	}
	var err error
	for _, part := range []struct {
		to  *uint64
		any *bool
		r   fieldRange
	}{
		{&s.minute, new(bool), minutes}, {&s.hour, new(bool), hours}, {&s.dom, &s.anyDOM, doms},
		{&s.month, new(bool), months}, {&s.dow, &s.anyDOW, dows},
	} {
		if *part.to, *part.any, err = part.r.parse(f[0]); err != nil {
			return nil, fmt.Errorf("schedule %q: %w", spec, err)
		}
		f = f[1:]
	}
	return s, nil
}

func macro(name string) (string, bool) {
	switch name {
	case "@yearly", "@annually":
		return "0 0 1 1 *", true
	case "@monthly":
		return "0 0 1 * *", true
	case "@weekly":
		return "0 0 * * 0", true
	case "@daily", "@midnight":
		return "0 0 * * *", true
	case "@hourly":
		return "0 * * * *", true
	}
	return "", false
}

// parse reads one field. anything says that it is not restricted.
func (r fieldRange) parse(field string) (set uint64, anything bool, err error) {
	for part := range strings.SplitSeq(field, ",") {
		span, stepText, hasStep := strings.Cut(part, "/")
		from, to := r.min, r.max
		switch a, b, isRange := strings.Cut(span, "-"); {
		case span == "*" || span == "?":
			anything = anything || !hasStep
		default:
			if from, err = r.number(a); err != nil {
				return 0, false, err
			}
			if isRange {
				if to, err = r.number(b); err != nil {
					return 0, false, err
				}
			} else if !hasStep {
				to = from // "5/10" runs on to the end
			}
		}
		step := 1
		if hasStep {
			if step, err = strconv.Atoi(stepText); err != nil || step < 1 {
				return 0, false, fmt.Errorf("%s %q: bad step", r.name, part)
			}
		}
		if from > to {
			return 0, false, fmt.Errorf("%s %q: the range ends before it begins", r.name, part)
		}
		for n := from; n <= to; n += step {
			set |= 1 << n
		}
	}
	return set, anything, nil
}

func (r fieldRange) number(s string) (int, error) {
	for i, name := range r.names {
		if strings.EqualFold(s, name) {
			return r.min + i, nil
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < r.min || n > r.max {
		return 0, fmt.Errorf("%s %q: want a number from %d to %d", r.name, s, r.min, r.max)
	}
	return n, nil
}

// horizon bounds the search for the next time: a leap day comes again within 8 years.
const horizon = 8

// next is the first time after t that the schedule names; the zero time if there is none ("0 0 30 2 *"). A time that the clock skips in
// spring does not happen that day, unless every hour is named; one that comes twice in autumn happens once.
func (s *schedule) next(t time.Time) time.Time {
	if s.every > 0 {
		return t.Truncate(time.Second).Add(s.every)
	}
	local := t.In(s.zone).Truncate(time.Minute).Add(time.Minute)
	for end := local.Year() + horizon; local.Year() <= end; {
		switch {
		case s.month&(1<<local.Month()) == 0:
			local = time.Date(local.Year(), local.Month()+1, 1, 0, 0, 0, 0, s.zone)
		case !s.day(local):
			local = forward(local, time.Date(local.Year(), local.Month(), local.Day()+1, 0, 0, 0, 0, s.zone))
		case s.hour&(1<<local.Hour()) == 0:
			local = forward(local, local.Truncate(time.Minute).Add(time.Duration(60-local.Minute())*time.Minute))
		case s.minute>>local.Minute() == 0:
			local = local.Add(time.Duration(60-local.Minute()) * time.Minute)
		default:
			local = local.Add(time.Duration(bits.TrailingZeros64(s.minute>>local.Minute())) * time.Minute)
			if s.minute&(1<<local.Minute()) != 0 {
				return local
			}
		}
	}
	return time.Time{}
}

// forward is to, or an hour after from where a change of clocks made to not later than it.
func forward(from, to time.Time) time.Time {
	if to.After(from) {
		return to
	}
	return from.Add(time.Hour)
}

func (s *schedule) day(t time.Time) bool {
	dom, dow := s.dom&(1<<t.Day()) != 0, s.dow&(1<<t.Weekday()) != 0
	if s.anyDOM || s.anyDOW {
		return dom && dow
	}
	return dom || dow
}

// last is the latest time that the schedule names, after from and not after now, and how many there are; the zero time if there is none.
// It stops counting at many.
func (s *schedule) last(from, now time.Time) (latest time.Time, n int) {
	if s.every > 0 {
		n = int(now.Sub(from) / s.every)
		if n <= 0 {
			return time.Time{}, 0
		}
		return from.Add(time.Duration(n) * s.every), n
	}
	for t := s.next(from); !t.IsZero() && !t.After(now); t = s.next(t) {
		latest = t
		if n++; n >= many {
			// After a long absence: the last one, found from the end.
			for back := time.Minute; ; back *= 4 {
				begin := now.Add(-back)
				if begin.Before(latest) {
					return latest, n
				}
				found := false
				for u := s.next(begin); !u.IsZero() && !u.After(now); u = s.next(u) {
					latest, found = u, true
				}
				if found {
					return latest, n
				}
			}
		}
	}
	return latest, n
}

// many missed times deserve a warning.
const many = 100
