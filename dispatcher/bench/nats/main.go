// Command publish feeds a JetStream stream as `dispatcher load` feeds a shard: each connection has one message in
// flight, and the next one is sent when the server has said that it has the last one. It prints one line of JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// result is what `dispatcher load --json` calls the same things.
type result struct {
	Sent           int                `json:"sent"`
	Accepted       int                `json:"accepted"`
	ElapsedSeconds float64            `json:"elapsedSeconds"`
	AchievedRate   float64            `json:"achievedRate"`
	LatencyMs      map[string]float64 `json:"latencyMs"`
}

func main() {
	url := flag.String("url", nats.DefaultURL, "the server")
	connections := flag.Int("connections", 16, "connections, each with one message in flight")
	size := flag.Int("size", 1024, "bytes of data of each message")
	duration := flag.Duration("duration", 10*time.Second, "how long to publish")
	rate := flag.Float64("rate", 0, "messages per second over all connections, on a schedule; 0: as fast as they are acknowledged")
	flag.Parse()
	outcome, err := publish(*url, *connections, *size, *duration, *rate)
	if err != nil {
		fmt.Fprintln(os.Stderr, "publish:", err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(outcome)
}

func publish(url string, connections, size int, duration time.Duration, rate float64) (*result, error) {
	setup, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	defer setup.Close()
	stream, err := setup.JetStream()
	if err != nil {
		return nil, err
	}
	config := &nats.StreamConfig{Name: "events", Subjects: []string{"events.*"}, Storage: nats.FileStorage}
	if _, err := stream.AddStream(config); err != nil {
		return nil, err
	}
	data := make([]byte, size)
	latencies := make([][]time.Duration, connections)
	failures := make([]error, connections)
	start := time.Now()
	var all sync.WaitGroup
	for number := range connections {
		all.Go(func() {
			latencies[number], failures[number] = one(url, number, connections, data, start, duration, rate)
		})
	}
	all.Wait()
	elapsed := time.Since(start)
	if failed := slices.IndexFunc(failures, func(err error) bool { return err != nil }); failed >= 0 {
		return nil, failures[failed]
	}
	sorted := slices.Sorted(slices.Values(slices.Concat(latencies...)))
	if len(sorted) == 0 {
		return nil, fmt.Errorf("nothing was acknowledged")
	}
	quantile := func(q float64) float64 {
		return float64(sorted[int(q*float64(len(sorted)-1))].Microseconds()) / 1000
	}
	return &result{
		Sent:           len(sorted),
		Accepted:       len(sorted),
		ElapsedSeconds: elapsed.Seconds(),
		AchievedRate:   float64(len(sorted)) / elapsed.Seconds(),
		LatencyMs:      map[string]float64{"p50": quantile(0.5), "p99": quantile(0.99), "max": quantile(1)},
	}, nil
}

// one publishes on a connection of its own, as a producer in another process would. With a rate, its messages are
// due at even distances, and latency counts from when each was due.
func one(url string, number, connections int, data []byte, start time.Time, duration time.Duration, rate float64) ([]time.Duration, error) {
	connection, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	stream, err := connection.JetStream()
	if err != nil {
		return nil, err
	}
	var latencies []time.Duration
	for sent := 0; ; sent++ {
		due := time.Now()
		if rate > 0 {
			index := float64(sent*connections + number)
			due = start.Add(time.Duration(index / rate * float64(time.Second)))
			time.Sleep(time.Until(due))
		}
		if due.Sub(start) >= duration {
			return latencies, nil
		}
		message := nats.NewMsg(fmt.Sprintf("events.%d", number))
		message.Data = data
		if _, err := stream.PublishMsg(message); err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(due))
	}
}
