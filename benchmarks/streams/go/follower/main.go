// Follower is the reference: a plain follower as most would write it in Go, with net/http, a
// goroutine for each stream, and encoding/json into a struct.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
)

type output struct {
	ID  string `json:"id"`
	Src string `json:"src"`
}

type snapshot struct {
	Status      string          `json:"status"`
	QueueNumber *int            `json:"queue_number"`
	Outputs     []output        `json:"outputs"`
	StartedAt   *string         `json:"started_at"`
	CompletedAt *string         `json:"completed_at"`
	Cause       json.RawMessage `json:"cause"`
	Sent        int64           `json:"sent"`
}

var (
	lock     sync.Mutex
	statuses = map[string]string{}
	lastSent = map[string]int64{}
	delays   []float64
)

func take(id string, seen snapshot, now time.Time) {
	lock.Lock()
	defer lock.Unlock()
	statuses[id] = seen.Status
	if lastSent[id] != seen.Sent { // else it was repeated
		lastSent[id] = seen.Sent
		delays = append(delays, float64(now.UnixNano()-seen.Sent)/1e6)
	}
}

func follow(client *http.Client, base string, id string) {
	request, err := http.NewRequest("GET", base+"/v1/workflow/"+id+"/subscribe", nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer token")
	request.Header.Set("Accept", "text/event-stream")
	answer, err := client.Do(request)
	if err != nil {
		log.Print(err)
		return
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		data, found := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !found {
			continue
		}
		var seen snapshot
		if err := json.Unmarshal(data, &seen); err != nil {
			log.Print(err)
			continue
		}
		take(id, seen, time.Now())
	}
	log.Print("a stream has ended: ", lines.Err())
}

func main() {
	base := flag.String("base", "", "URL of the server")
	file := flag.String("ids", "", "file with an id in each line, behind a dash")
	authority := flag.String("authority", "", "PEM file of who signed the server's certificate")
	flag.Parse()
	transport := &http.Transport{
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	if *authority != "" {
		pem, err := os.ReadFile(*authority)
		if err != nil {
			log.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	client := &http.Client{Transport: transport}
	text, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	slots := make(chan struct{}, 20) // so many are opened at once
	go func() {
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			slots <- struct{}{}
			go follow(client, *base, strings.TrimPrefix(line, "- "))
			time.Sleep(time.Millisecond)
			<-slots
		}
	}()
	// SIGUSR1 begins the measurement, and SIGTERM ends it.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGTERM)
	for told := range signals {
		lock.Lock()
		if told == syscall.SIGTERM {
			break
		}
		delays = delays[:0]
		lock.Unlock()
	}
	sort.Float64s(delays)
	if len(delays) > 0 {
		at := func(part float64) float64 { return delays[int(part*float64(len(delays)-1))] }
		fmt.Printf("delays %.2f %.2f %.2f\n", at(0.5), at(0.99), at(1))
	}
}
