package batch

import "testing"

func TestCountIndexes(t *testing.T) {
	for _, c := range []struct {
		in   string
		of   int32
		want int32 // -1: an error
	}{
		{"", 5, 0},
		{"0", 5, 1},
		{"0-4", 5, 5},
		{"0,2-4", 5, 4},
		{"0-5", 5, -1},
		{"5", 5, -1},
		{"3-2", 5, -1},
		{"2,1", 5, -1},
		{"1,1", 5, -1},
		{"-1", 5, -1},
		{"1-", 5, -1},
		{"1,,2", 5, -1},
		{"a", 5, -1},
	} {
		got, err := countIndexes(c.in, c.of)
		if err != nil {
			got = -1
		}
		if got != c.want {
			t.Errorf("%q of %d: %d, want %d (%v)", c.in, c.of, got, c.want, err)
		}
	}
}

// FuzzIndexes checks that no list names more indexes than there are.
func FuzzIndexes(f *testing.F) {
	f.Add("0-2,4", int32(5))
	f.Add("2147483647", int32(2147483647))
	f.Fuzz(func(t *testing.T, s string, of int32) {
		n, err := countIndexes(s, of)
		if err == nil && of >= 0 && (n < 0 || n > of) {
			t.Errorf("%q names %d of %d", s, n, of)
		}
	})
}

// FuzzSchedule checks that no schedule crashes the server, as "TZ=0" once did in cron.
func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"* * * * *", "@every 1h", "TZ=0", "TZ=", "CRON_TZ=UTC 1 2 3 4 5", "@daily", "*/0 * * * *"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := parseSchedule(s); err == nil && s == "" {
			t.Error("nothing is no schedule")
		}
	})
}

func TestOverlapOf(t *testing.T) {
	for _, c := range []struct {
		completed, failed string
		of, want          int32 // want -1: none
	}{
		{"", "0", 5, -1},
		{"0-2", "3,4", 5, -1},
		{"0-2", "2", 5, 2},
		{"0,3", "1-4", 5, 3},
		{"x,1", "1", 5, 1},
		{"4", "0-9", 5, -1}, // an interval that ends too high is passed over
	} {
		got, both := overlapOf(c.completed, c.failed, c.of)
		if !both {
			got = -1
		}
		if got != c.want {
			t.Errorf("%q and %q of %d: %d, want %d", c.completed, c.failed, c.of, got, c.want)
		}
	}
}
