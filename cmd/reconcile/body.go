package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
)

func bad(w http.ResponseWriter, text string) {
	answer(w, http.StatusBadRequest, map[string]string{"error": text})
}

func tooMany(w http.ResponseWriter, what string) {
	answer(w, http.StatusTooManyRequests, map[string]string{"error": fmt.Sprintf("too many %s that the live spec does not name (at most %d)", what, maxStrangers)})
}

// wholeBody reads a body, or answers 413 with the limit, or 400 where it breaks off.
func wholeBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	src, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		answer(w, http.StatusRequestEntityTooLarge, map[string]string{"error": fmt.Sprintf("the body is larger than %d bytes", large.Limit)})
	case err != nil:
		bad(w, "the body could not be read")
	}
	return src, err == nil
}

// readBody decodes a JSON body, or answers 400 with the words that the route has for a wrong one.
func readBody(w http.ResponseWriter, r *http.Request, v any, required string) bool {
	src, ok := wholeBody(w, r)
	if ok && json.Unmarshal(src, v) != nil {
		bad(w, required)
		return false
	}
	return ok
}

// tenantAndPct reads a body as the older service did: any tenant that is not empty, as text, and a number.
func tenantAndPct(tenant, pct any) (string, float64, bool) {
	n, ok := pct.(float64)
	name := text(tenant)
	return name, n, ok && name != "" && !math.IsNaN(n)
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		if v != 0 {
			return fmt.Sprint(v)
		}
	case bool:
		if v {
			return "true"
		}
	}
	return ""
}
