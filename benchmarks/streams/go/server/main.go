// Server sends event streams as the service does: a snapshot every two seconds, four in five of
// which repeat the one before byte for byte.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"log"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

var (
	sent atomic.Int64
	open atomic.Int64
)

// snapshot is one event. The time at which it was made tells a follower how late it is.
func snapshot(number int, size int) []byte {
	made := time.Now().UnixNano()
	text := fmt.Sprintf(
		`{"status":"running","queue_number":%d,"outputs":[],"sent":%d,"prompt":{"text":"%s"}}`,
		number, made, strings.Repeat("x", size))
	return []byte("data: " + text + "\n\n")
}

func stream(writer http.ResponseWriter, request *http.Request, every time.Duration, repeats int) {
	hash := fnv.New32a()
	hash.Write([]byte(request.PathValue("id")))
	random := int(hash.Sum32() % 1_000_003)
	size := 250 + random%1_700
	writer.Header().Set("Content-Type", "text/event-stream")
	flusher := writer.(http.Flusher)
	open.Add(1)
	defer open.Add(-1)
	number := random
	event := snapshot(number, size)
	// Streams that are opened together must not all tell at the same moment.
	wait := time.NewTimer(time.Duration(random) * every / 1_000_003)
	defer wait.Stop()
	next := time.Now().Add(time.Duration(random) * every / 1_000_003)
	for {
		if number%(repeats+1) == 0 {
			event = snapshot(number, size)
		}
		number++
		if _, err := writer.Write(event); err != nil {
			return
		}
		flusher.Flush()
		sent.Add(1)
		select {
		case <-wait.C:
		case <-request.Context().Done():
			return
		}
		next = next.Add(every)
		wait.Reset(time.Until(next))
	}
}

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	every := flag.Duration("every", 2*time.Second, "time from one snapshot to the next")
	repeats := flag.Int("repeats", 4, "how often each snapshot is repeated")
	certificate := flag.String("certificate", "", "PEM file; with it: TLS")
	key := flag.String("key", "", "PEM file")
	flag.Parse()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/workflow/{id}/subscribe", func(w http.ResponseWriter, r *http.Request) {
		stream(w, r, *every, *repeats)
	})
	mux.HandleFunc("GET /v1/workflow/{id}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]string{"id": r.PathValue("id"), "status": "running"})
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]int64{"sent": sent.Load(), "open": open.Load()})
	})
	server := http.Server{
		Addr: *address, Handler: mux,
		// HTTP/1.1 alone, as the followers speak it.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	if *certificate != "" {
		log.Fatal(server.ListenAndServeTLS(*certificate, *key))
	}
	log.Fatal(server.ListenAndServe())
}
