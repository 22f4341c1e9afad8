#include "models/text_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iostream>

namespace tiller {
namespace {

TokenizedPrompt tokenized(const TextTower& tower, const std::string& prompt,
                          const PromptOptions& options) {
  return options.plain ? tokenize_plain(tower.tokenizer, prompt)
                       : tokenize_weighted(tower.tokenizer, prompt);
}

/// Of one tower: states (1, 77 n, D), and the pooled state of the first chunk.
PromptStates encode_with(const TextModel& model, const TextTower& tower, const std::string& prompt,
                         const PromptOptions& options, int64_t length) {
  TokenizedPrompt text = tokenized(tower, prompt, options);
  if (!text.truncated.empty())
    std::cerr << "prompt: longer than " << tower.tokenizer.max_length()
              << " tokens; left out: " << text.truncated << "\n";
  pad_chunks(tower.tokenizer, text.chunks, size_t(length));
  const Tensor ids = chunk_ids(text.chunks).to(model.device);
  const TextStates states = tower.encoder.encode(ids, options.clip_skip, tower.extra);
  const Tensor context = model.xl ? states.raw : states.context;
  const Tensor scaled = weighted(context, chunk_weights(text.chunks).to(model.device));
  return {scaled.flatten(0, 1).unsqueeze(0), states.pooled.narrow(0, 0, 1)};
}

}  // namespace

int64_t chunks_of(const TextModel& model, const std::string& prompt, const PromptOptions& options) {
  size_t chunks = 1;
  for (const auto& tower : model.towers)
    chunks = std::max(chunks, tokenized(tower, prompt, options).chunks.size());
  return int64_t(chunks);
}

PromptStates encode_prompt(const TextModel& model, const std::string& prompt,
                           const PromptOptions& options, int64_t length) {
  std::vector<Tensor> contexts;
  PromptStates last;
  for (const auto& tower : model.towers) {
    last = encode_with(model, tower, prompt, options, length);
    contexts.push_back(last.context);
  }
  return {contexts.size() == 1 ? contexts.front() : at::cat(contexts, -1),
          model.xl ? last.pooled : Tensor()};
}

std::vector<int64_t> word_positions(const TextModel& model, const std::string& prompt,
                                    const PromptOptions& options, const std::string& word) {
  const TextTower& tower = model.towers.front();
  std::vector<int64_t> positions;
  for (const auto& span :
       find_words(tower.tokenizer, tokenized(tower, prompt, options).chunks, word))
    for (size_t token = span.begin; token < span.end; ++token)
      positions.push_back(int64_t(span.chunk * tower.tokenizer.max_length() + token));
  return positions;
}

PromptTokens prompt_tokens(const TextModel& model, const std::string& prompt,
                           const PromptOptions& options, int64_t length) {
  const TextTower& tower = model.towers.front();
  auto chunks = tokenized(tower, prompt, options).chunks;
  pad_chunks(tower.tokenizer, chunks, size_t(length));
  PromptTokens tokens;
  int64_t word = 0;
  for (const auto& chunk : chunks) {
    const auto end = std::find(chunk.ids.begin() + 1, chunk.ids.end(), tower.tokenizer.end());
    for (auto id = chunk.ids.begin(); id != chunk.ids.end(); ++id) {
      const bool is_edge = id == chunk.ids.begin() || id == end;
      tokens.ids.push_back(*id);
      tokens.words.push_back(is_edge    ? PromptTokens::edge
                             : id > end ? PromptTokens::padding
                                        : word);
      if (!is_edge && id < end && tower.tokenizer.ends_word(*id)) ++word;
    }
  }
  return tokens;
}

PromptStates zeros_like(const PromptStates& states) {
  return {at::zeros_like(states.context),
          states.pooled.defined() ? at::zeros_like(states.pooled) : Tensor()};
}

}  // namespace tiller
