# run: failed
# rules: 4 s22
# a: failed "64 KiB"
pipeline "result_too_large" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "head -c 70000 /dev/zero | tr '\\0' x | sed s/^/k=/ >> $PIPELINED_OUTPUT"
  }
}
