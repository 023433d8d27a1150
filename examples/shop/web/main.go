package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<title>{{.Title}}</title>
<h1>{{.Title}}</h1>
<p>visits: {{.Visits}}</p>
<p>served by {{.Pod}} ({{.Version}})</p>
<p>store by name: {{.ByName}}</p>
<p>store by environment: {{.ByEnv}}</p>
`))

type view struct {
	Title, Pod, Version, ByName, ByEnv string
	Visits                             int64
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-version" {
		fmt.Println("web", os.Getenv("SHOP_VERSION"))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", serve)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", ready)
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		// Endpoints forget this pod a moment after it was told to stop: answer the requests already on their way.
		time.Sleep(2 * time.Second)
		end, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Shutdown(end)
	}()
	log.Printf("web: listening on %s", server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatalf("web: %v", err)
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	v := view{
		Title: title(), Pod: os.Getenv("POD_NAME"), Version: os.Getenv("SHOP_VERSION"),
		ByName: name(), ByEnv: os.Getenv("STORE_SERVICE_HOST"),
	}
	n, err := ask(v.ByName, "INCR visits")
	if err == nil && os.Getenv("STORE_PORT_6379_TCP_ADDR") != v.ByEnv {
		err = errors.New("STORE_PORT_6379_TCP_ADDR and STORE_SERVICE_HOST differ")
	}
	if err == nil && v.ByEnv != "" {
		_, err = ask(net.JoinHostPort(v.ByEnv, os.Getenv("STORE_SERVICE_PORT")), "GET visits")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	v.Visits = n
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page.Execute(w, v)
}

func ready(w http.ResponseWriter, _ *http.Request) {
	if _, err := ask(name(), "GET visits"); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

func name() string {
	if a := os.Getenv("STORE_ADDR"); a != "" {
		return a
	}
	return "store:6379"
}

// title is read on each request: the ConfigMap behind it may change while the page is served.
func title() string {
	data, err := os.ReadFile(os.Getenv("TITLE_FILE"))
	if err != nil {
		return "shop"
	}
	return strings.TrimSpace(string(data))
}

func ask(addr, request string) (int64, error) {
	c, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return 0, fmt.Errorf("reach the store: %w", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Second))
	fmt.Fprintf(c, "AUTH %s\n%s\n", os.Getenv("STORE_PASSWORD"), request)
	in := bufio.NewScanner(c)
	for _, want := range []string{"+", ":"} {
		if !in.Scan() {
			return 0, fmt.Errorf("ask the store: the connection ended: %w", errors.Join(in.Err()))
		}
		if !strings.HasPrefix(in.Text(), want) {
			return 0, fmt.Errorf("ask the store: %s", in.Text())
		}
	}
	return strconv.ParseInt(in.Text()[1:], 10, 64)
}
