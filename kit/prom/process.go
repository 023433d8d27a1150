package prom

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process writes what there is of this process, by the names that every program has for it.
func (p *Page) Process(started time.Time) {
	p.Head("go_goroutines", "gauge", "Goroutines.")
	p.Value("", float64(runtime.NumGoroutine()))
	p.Head("go_info", "gauge", "1, with the version of Go.")
	p.Value(Labels("version", runtime.Version()), 1)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.Head("go_memstats_alloc_bytes", "gauge", "Bytes of objects on the heap.")
	p.Value("", float64(m.HeapAlloc))
	p.Head("go_memstats_heap_inuse_bytes", "gauge", "Bytes of the heap's spans that are in use.")
	p.Value("", float64(m.HeapInuse))
	p.Head("process_start_time_seconds", "gauge", "When the process began, in seconds since 1970.")
	p.Value("", float64(started.UnixNano())/float64(time.Second))
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) == nil {
		p.Head("process_cpu_seconds_total", "counter", "Seconds of processor time.")
		p.Value("", time.Duration(used.Utime.Nano()+used.Stime.Nano()).Seconds())
	}
	if size, resident, ok := memory(); ok {
		p.Head("process_resident_memory_bytes", "gauge", "Memory in use.")
		p.Value("", resident)
		p.Head("process_virtual_memory_bytes", "gauge", "Address space in use.")
		p.Value("", size)
	}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.Head("process_open_fds", "gauge", "Open files.")
		p.Value("", float64(len(files)))
	}
	var most syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &most) == nil {
		p.Head("process_max_fds", "gauge", "How many files may be open.")
		p.Value("", float64(most.Cur))
	}
}

// memory is what the kernel counts, in bytes.
func memory() (size, resident float64, ok bool) {
	text, err := os.ReadFile("/proc/self/statm")
	parts := strings.Fields(string(text))
	if err != nil || len(parts) < 2 {
		return 0, 0, false
	}
	page := float64(os.Getpagesize())
	a, err1 := strconv.ParseFloat(parts[0], 64)
	b, err2 := strconv.ParseFloat(parts[1], 64)
	return a * page, b * page, err1 == nil && err2 == nil
}
