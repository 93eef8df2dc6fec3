//go:build deps

// Package deps keeps chosen modules in go.mod until their first user lands.
package deps

import (
	_ "code.gitea.io/sdk/gitea"
	_ "github.com/alicebob/miniredis/v2"
	_ "github.com/go-git/go-git/v5"
	_ "github.com/go-json-experiment/json"
	_ "github.com/google/go-github/v74/github"
	_ "github.com/google/uuid"
	_ "github.com/hiddeco/sshsig"
	_ "github.com/nyaruka/phonenumbers"
	_ "github.com/open-feature/go-sdk/openfeature"
	_ "github.com/prometheus/client_golang/api/prometheus/v1"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/redis/go-redis/v9"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/santhosh-tekuri/jsonschema/v5"
	_ "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	_ "github.com/sigstore/sigstore-go/pkg/bundle"
	_ "github.com/sigstore/sigstore-go/pkg/root"
	_ "github.com/sigstore/sigstore-go/pkg/sign"
	_ "github.com/sigstore/sigstore-go/pkg/verify"
	_ "github.com/sigstore/sigstore/pkg/cryptoutils"
	_ "github.com/sigstore/sigstore/pkg/signature"
	_ "github.com/sigstore/sigstore/pkg/signature/kms"
	_ "github.com/spf13/cobra"
	_ "github.com/transparency-dev/tessera"
	_ "github.com/transparency-dev/tessera/storage/posix"
	_ "gitlab.com/gitlab-org/api/client-go"
	_ "gonum.org/v1/plot"
	_ "pgregory.net/rapid"
)
