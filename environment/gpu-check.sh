#!/bin/bash
# Tells in eight minutes what the kit is worth on a GPU, on a machine that has PyTorch for CUDA and nothing of .NET:
# golden tests and training steps against the CPU, then speed and memory at the published shapes with random weights, beside
# that machine's own PyTorch and transformers.
#
#   environment/gpu-check.sh pack [FILE]            where .NET is: writes artifacts/gpu-check.tar.xz, at most 60 MiB
#   environment/gpu-check.sh run FILE [options]     where the GPU is: unpacks it, runs all, prints the table
#     --device cuda|cpu   default cuda
#     --small             few weights, for a dry run of every step
#     --python PYTHON     whose PyTorch is used; default the active environment's, else python3
#     --no-peer           leaves PyTorch's and transformers' own figures out
#     --out FOLDER        keeps table, figures and logs there; default gpu-check-results
#
# The libtorch is that of the Python, or the one that REASONGEN_LIBTORCH names. Exit code 0: all is right and reached; 1: something
# is wrong or missing; 2: it could not start; 3: all is right, but something is slower or larger than wanted.
set -euo pipefail
work=

LIMIT_MIB=60
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() { echo "gpu-check: $*" >&2; exit 2; }

usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; }

pack() {
    [ $# -le 1 ] || fail "pack takes one file; see --help"
    local root file version dotnet
    root=$(cd "$here/.." && pwd)
    file=${1:-$root/artifacts/gpu-check.tar.xz}
    command -v dotnet >/dev/null || fail "pack needs the .NET SDK 10 on the path"
    command -v xz >/dev/null || fail "pack needs xz"
    [ -f "$root/ReasonGen.Notebooks.sln" ] || fail "pack runs in a clone of the repository"
    mkdir -p "$(dirname "$file")"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    local to=$work/gpu-check
    mkdir -p "$to/kit" "$to/dotnet/shared/Microsoft.NETCore.App" "$to/dotnet/host/fxr" "$to/golden" "$to/data"

    echo "building without libtorch …"
    for project in ReasonGen.Tests ReasonGen.Benchmarks; do
        dotnet publish "$root/tests/$project" -c Release -v q -nologo -p:Torch=none -p:RunAnalyzers=false \
            --artifacts-path "$work/build" -o "$to/kit" || fail "the build of $project failed"
    done
    # what neither the tests of a device nor the figures need; without the list of dependencies nobody misses it
    (cd "$to/kit" && rm -rf ./*.pdb ./*.xml ./*.deps.json ./cs ./data ./ReasonGen.Host ./ReasonGen.Tests ./ReasonGen.Benchmarks \
        Microsoft.CodeAnalysis*.dll System.ServiceModel*.dll Microsoft.CodeCoverage* \
        Microsoft.TestPlatform* Microsoft.VisualStudio* testhost* ./*testadapter* Jint.dll AngleSharp*.dll \
        CodeCoverage alpine arm64 macos ubuntu x64 x86)

    version=$(dotnet --list-runtimes | awk '/^Microsoft\.NETCore\.App 10\./ { found = $0 } END { print found }')
    dotnet=$(echo "$version" | sed 's/.*\[\(.*\)\/shared\/Microsoft.NETCore.App\].*/\1/')
    version=$(echo "$version" | cut -d' ' -f2)
    [ -d "$dotnet/host/fxr/$version" ] || fail "the .NET runtime 10 was not found ('dotnet --list-runtimes')"
    cp "$dotnet/dotnet" "$to/dotnet/"
    cp -r "$dotnet/host/fxr/$version" "$to/dotnet/host/fxr/"
    cp -r "$dotnet/shared/Microsoft.NETCore.App/$version" "$to/dotnet/shared/Microsoft.NETCore.App/"
    (cd "$to/dotnet/shared/Microsoft.NETCore.App/$version" \
        && rm -f libmscordaccore.so libmscordbi.so libclrgcexp.so createdump Microsoft.VisualBasic*.dll System.Private.DataContract*.dll)

    for fixtures in grpo janus janus_hf qwen25vl resize rollout sft siglip vq; do
        cp -r "$root/tests/golden/$fixtures" "$to/golden/"
    done
    cp -r "$root/data/runs" "$root/data/checkpoints" "$to/data/"
    touch "$to/ReasonGen.Notebooks.sln" # marks the folder above data
    cp "$here/gpu-check.sh" "$here/gpu-peer.py" "$to/"
    (cd "$root" && git rev-parse --short HEAD 2>/dev/null || echo unknown) > "$to/revision.txt"

    echo "compressing …"
    tar -C "$work" --owner=0 --group=0 --sort=name -cf - gpu-check | xz -9e -T2 > "$file"
    local bytes=$(wc -c < "$file")
    echo "$file: $((bytes / 1048576)).$((bytes % 1048576 * 10 / 1048576)) MiB"
    if [ "$bytes" -gt $((LIMIT_MIB * 1048576)) ]; then
        du -ak "$to" | sort -rn | head -20 >&2
        fail "it is larger than $LIMIT_MIB MiB"
    fi
}

unpack() {
    [ -f "$1" ] || fail "there is no file $1; make it with 'gpu-check.sh pack'"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    if command -v xz >/dev/null; then
        tar -C "$work" -xJf "$1" || fail "$1 cannot be unpacked"
    else
        python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$1" "$work" || fail "$1 cannot be unpacked"
    fi
    [ -d "$work/gpu-check/kit" ] || fail "$1 was not made by 'gpu-check.sh pack'"
    here=$work/gpu-check
}

# NAME SECONDS COMMAND …: a line of the table
check() {
    local name=$1 limit=$2 log=$out/${1// /-}.log begin=$SECONDS outcome=ok words
    shift 2
    timeout --kill-after=5 $((limit * patience)) "$@" > "$log" 2>&1 || outcome="failed ($?)"
    words=$(grep -E 'Total: |checks passed|checks missed|Nothing is missing|missing' "$log" | tail -1 | tr '\t|' '  ' | sed 's/^ *//' || true)
    [ -n "$words" ] || words=$(grep -v '^ *$' "$log" | tail -1 | tr '\t|' '  ' || true)
    # tests that found nothing to do have shown nothing; those of a device have nothing to do on the CPU
    if echo "$words" | grep -qE 'Total: 0( |,|$)' || { [ "$device" = cuda ] && echo "$words" \
        | awk '{ t = s = ""; for (i = 1; i < NF; i++) { if ($i == "Total:") t = $(i + 1); if ($i == "Skipped:") s = $(i + 1) }
            exit !(t != "" && t == s) }'; }; then outcome="failed (nothing ran)"; fi
    printf '%s\t%s\t%s; %d s\n' "$name" "$outcome" "$words" $((SECONDS - begin)) >> "$out/checks.txt"
    echo "$name: $outcome, $((SECONDS - begin)) s"
    [ "$outcome" = ok ] || tail -5 "$log" | sed 's/^/    /'
}

# WHOSE SECONDS COMMAND …: lines of json
figures() {
    local whose=$1 limit=$2 begin=$SECONDS code=0
    shift 2
    timeout --kill-after=5 $((limit * patience)) "$@" >> "$out/$whose.jsonl" 2>> "$out/$whose.log" || code=$?
    [ $code = 0 ] || printf 'figures of the %s\tfailed (%d)\t%s\n' "$whose" $code "$(tail -1 "$out/$whose.log" | tr '\t|' '  ')" >> "$out/checks.txt"
    echo "figures of the $whose: $((SECONDS - begin)) s"
}

run() {
    local small="" peer=yes python="" file=""
    device=cuda out=gpu-check-results patience=1
    while [ $# -gt 0 ]; do
        case $1 in
            --device) [ $# -gt 1 ] || fail "--device wants cuda or cpu"; device=$2; shift ;;
            --small) small=--small ;;
            --python) [ $# -gt 1 ] || fail "--python wants a program"; python=$2; shift ;;
            --no-peer) peer="" ;;
            --out) [ $# -gt 1 ] || fail "--out wants a folder"; out=$2; shift ;;
            -*) fail "there is no option $1; see --help" ;;
            *) [ -z "$file" ] || fail "run takes one file; see --help"; file=$1 ;;
        esac
        shift
    done
    [ "$device" = cuda ] || patience=6 # a dry run may take its time
    case $device in cuda|cpu) ;; *) fail "--device is cuda or cpu, not $device" ;; esac
    if [ -n "$file" ]; then unpack "$file"; fi
    [ -d "$here/kit" ] || fail "give the file that 'gpu-check.sh pack' wrote"
    [ -n "$python" ] || python=${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/}python3
    command -v "$python" >/dev/null || { [ -z "$peer" ] && python=""; } || fail "there is no $python; name one with --python, or say --no-peer"
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    rm -f "$out"/checks.txt "$out"/*.jsonl "$out"/*.log "$out"/table.md

    if [ -z "${REASONGEN_LIBTORCH:-}" ] && [ -n "$python" ]; then
        local torch
        torch=$("$python" -c 'from importlib.util import find_spec; s = find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' || true)
        [ -z "$torch" ] || export REASONGEN_LIBTORCH=$torch/lib
    fi
    export DOTNET_ROOT=$here/dotnet DOTNET_MULTILEVEL_LOOKUP=0 DOTNET_CLI_TELEMETRY_OPTOUT=1 REASONGEN_GOLDEN=$here/golden \
        REASONGEN_DEVICE=$device,fp32
    local dotnet=$here/dotnet/dotnet
    "$dotnet" "$here/kit/ReasonGen.Benchmarks.dll" gpu --device "$device" --only none || exit 2

    cd "$here" # whose data are found from where one stands
    echo "revision $(cat "$here/revision.txt"), device $device${small:+, few weights}"
    check doctor 30 "$dotnet" "$here/kit/ReasonGen.Host.dll" doctor
    check "golden tests fp32" 110 "$dotnet" "$here/kit/ReasonGen.Tests.dll" -noColor -parallel none -class '*JanusGoldenTests' -class '*.Models.ModelGoldenTests' \
        -class '*QwenGoldenTests' -class '*SigLipGoldenTests' -class '*VqGoldenTests' -class '*SftGoldenTests' \
        -class '*GrpoGoldenTests' -class '*RolloutGoldenTests'
    check "steps against the CPU" 60 "$dotnet" "$here/kit/ReasonGen.Tests.dll" -noColor -parallel none -class '*Devices.DeviceTests' -class '*Devices.NcclTests' -class '*GraphedPassTests'
    check "verify tiny" 30 "$dotnet" "$here/kit/ReasonGen.Host.dll" verify tiny --device "$device,fp32" --out "$out/verify-tiny.html"

    unset REASONGEN_DEVICE
    figures kit 150 "$dotnet" "$here/kit/ReasonGen.Benchmarks.dll" gpu --device "$device" $small --only info,decode,train,judge
    # by itself: what the parts before it have let go of stays with their process
    figures kit 80 "$dotnet" "$here/kit/ReasonGen.Benchmarks.dll" gpu --device "$device" $small --only memory
    [ -z "$peer" ] || figures peer 150 "$python" "$here/gpu-peer.py" --device "$device" $small

    local code=0
    "$dotnet" "$here/kit/ReasonGen.Benchmarks.dll" gpu-table "$out" $small $([ -n "$peer" ] || echo --no-peer) > "$out/table.md" || code=$?
    echo; cat "$out/table.md"; echo; echo "Kept in $out."
    exit $code
}

case ${1:-} in
    pack) shift; pack "$@" ;;
    run) shift; run "$@" ;;
    -h|--help) usage ;;
    *) usage >&2; exit 2 ;;
esac
