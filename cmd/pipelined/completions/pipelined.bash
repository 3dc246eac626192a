# Completion of pipelined for bash 3.2 and newer. It needs no other package:
#   eval "$(pipelined completion bash)"

_pipelined() {
  local IFS=$' \t\n'
  local word rest i quote= cut current description
  local -a words described
  words=()

  # Bash breaks words at : and = as well. What no space separates is one word.
  rest=${COMP_LINE:0:COMP_POINT}
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $i == 0 || $rest == [[:space:]]* ]]; then
      rest=${rest#"${rest%%[![:space:]]*}"}
      words[${#words[@]}]=
    fi
    [[ $rest == "$word"* && $i != "$COMP_CWORD" ]] || word=$rest
    words[${#words[@]} - 1]+=$word
    rest=${rest#"$word"}
  done

  current=${words[${#words[@]} - 1]}
  [[ $current != [\"\']* ]] || { quote=${current:0:1} current=${current:1}; }
  cut=${current%"$2"} # what stands before the part that bash replaces
  current=${current//\\/}
  unset "words[${#words[@]}-1]"
  for ((i = 0; i < ${#words[@]}; i++)); do
    word=${words[i]//\\/}
    [[ $word != \"*\" && $word != \'*\' ]] || word=${word:1:${#word}-2}
    words[i]=$word
  done
  words[0]=${words[0]/#\~\//$HOME/}
  [[ $current != -* ]] || words[${#words[@]}]=$current

  COMPREPLY=()
  described=()
  while IFS=$'\t' read -r word description; do
    [[ -n $word && $word == "$current"* ]] || continue
    described[${#described[@]}]="$(printf '%-20s %s' "$word" "$description")"
    word=${word#"$cut"}
    [[ -n $quote ]] || printf -v word %q "$word"
    COMPREPLY[${#COMPREPLY[@]}]=$word
  done <<<"$("${words[@]}" --generate-shell-completion 2>/dev/null)"

  type compopt >/dev/null 2>&1 && compopt -o nosort 2>/dev/null
  # 63: bash lists what fits and inserts nothing.
  if [[ $COMP_TYPE == 63 && ${#COMPREPLY[@]} -gt 1 ]]; then
    COMPREPLY=("${described[@]}")
  fi
}

complete -o bashdefault -o default -F _pipelined pipelined
