package main

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

func main() {
	password := os.Getenv("STORE_PASSWORD")
	if password == "" {
		log.Fatal("store: STORE_PASSWORD is not set")
	}
	dir := os.Getenv("STORE_DIR")
	if dir == "" {
		dir = "/data"
	}
	s, err := open(filepath.Join(dir, "counters.json"))
	if err != nil {
		log.Fatalf("store: %v", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", ":6379")
	if err != nil {
		log.Fatalf("store: %v", err)
	}
	context.AfterFunc(ctx, func() { l.Close() })
	log.Printf("store: %d counters, listening on %s", len(s.counters), l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			log.Print("store: stopped")
			return
		}
		go s.serve(c, password)
	}
}

type store struct {
	path string

	mu       sync.Mutex // guards counters and the file
	counters map[string]int64
}

func open(path string) (*store, error) {
	s := &store{path: path, counters: map[string]int64{}}
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &s.counters); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

func (s *store) serve(c net.Conn, password string) {
	defer c.Close()
	known := false
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		word, arg, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		var answer string
		switch {
		case word == "AUTH":
			known = subtle.ConstantTimeCompare([]byte(arg), []byte(password)) == 1
			if answer = "+OK"; !known {
				answer = "-ERR wrong password"
			}
		case !known:
			answer = "-ERR say AUTH first"
		case word == "INCR" && arg != "":
			n, err := s.incr(arg)
			if answer = fmt.Sprintf(":%d", n); err != nil {
				answer = "-ERR " + err.Error()
			}
		case word == "GET" && arg != "":
			s.mu.Lock()
			answer = fmt.Sprintf(":%d", s.counters[arg])
			s.mu.Unlock()
		default:
			answer = "-ERR unknown command"
		}
		if _, err := fmt.Fprintln(c, answer); err != nil {
			return
		}
	}
}

// incr adds one and writes the file before it answers, so that an acknowledged count survives the process.
func (s *store) incr(key string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters[key]++
	data, err := json.Marshal(s.counters)
	if err == nil {
		if err = os.WriteFile(s.path+".new", data, 0o600); err == nil {
			err = os.Rename(s.path+".new", s.path)
		}
	}
	if err != nil {
		s.counters[key]--
		return 0, err
	}
	return s.counters[key], nil
}
