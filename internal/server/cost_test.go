package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/confab-chat/confab/internal/config"
	"github.com/confab-chat/confab/internal/rest"
)

// BenchmarkAccess measures how long a production server takes for the access record of a send,
// after it has answered the request: it counts the request, and stores it in the log of the newest
// requests.
func BenchmarkAccess(b *testing.B) {
	cfg, err := config.Load(config.Input{Defaults: map[string]string{
		"data": config.Memory, "listen": "localhost:0", "listen-ops": "off", "limits": "off", "access-log": "off",
	}})
	if err != nil {
		b.Fatal(err)
	}
	s, err := Start(b.Context(), Options{Config: cfg})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	const (
		user   = "8:acs:11111111-2222-4333-8444-555555555555_0000002a-1c5b-6f3e-88f7-08482200b426"
		thread = "19:f00dbeefcafe4b1e9a6b0c2d4e6f8a1b@thread.v2"
		agent  = "azsdk-js-communication-chat/1.6.0 core-rest-pipeline/1.19.1 Node/22.11.0 OS/(x64-Linux-6.8.0)"
	)
	r := httptest.NewRequest("POST", "/chat/threads/"+thread+"/messages?api-version=2025-03-15", nil)
	for name, value := range map[string]string{
		"Authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.eyJza3lwZWlkIjoiYSJ9.c2lnbmF0dXJl", "Content-Type": "application/json", "Accept": "application/json",
		"User-Agent": agent, "X-Ms-Client-Request-Id": "6b0c2d4e-1c5b-4f3e-88f7-08482200b426", "Accept-Encoding": "gzip, deflate",
	} {
		r.Header.Set(name, value)
	}
	answer := http.Header{
		"Content-Type": {"application/json; charset=utf-8"}, "Location": {"https://localhost:8443/chat/threads/" + thread + "/messages/1732800000000"},
		"Ms-Cv": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ.0"}, "X-Ms-Request-Id": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ.0"},
		"Api-Supported-Versions": {"2021-09-07, 2023-11-07, 2024-03-07, 2025-03-15"}, "X-Content-Type-Options": {"nosniff"},
	}
	record := rest.Record{
		Time: time.Now(), Duration: 1500 * time.Microsecond, Method: "POST", Path: r.URL.EscapedPath(), Status: http.StatusCreated, Operation: "send message",
		Thread: thread, User: user, UserAgent: agent, Client: "127.0.0.1", RequestID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ.0", ClientID: "6b0c2d4e-1c5b-4f3e-88f7-08482200b426",
		Request: r, Answer: answer,
	}
	b.ReportAllocs()
	for b.Loop() {
		s.access(record)
	}
	kept := s.Traffic().Stats()
	b.ReportMetric(float64(kept.Bytes)/float64(kept.Kept), "B/kept")
	b.ReportMetric(float64(kept.Bytes), "B-kept")
}
