#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/integration/gateway/running_gateway.h"

namespace finetuned::tests {

/// A project, and in it one of everything that the API names by an id: what stands on one side of a wall.
struct Estate {
  Tenant tenant;
  /// By the name of a path's parameter, or of what bodies and queries refer to. The first of several is good for any
  /// request that its owner may send.
  std::map<std::string, std::vector<std::string>> ids;

  const std::string& id(const std::string& name) const { return ids.at(name).front(); }
  /// `$name` in a text becomes the first id of that name.
  std::string fill(std::string text) const;
  /// Of its project, but for what an organization's other projects share.
  std::vector<std::string> own_ids() const;
};

/// In an organization of its own; or beside `neighbour`, whose people, keys and alerts it then shares.
Estate make_estate(std::uint16_t port, const Estate* neighbour = nullptr);

/// One of the same shape that nothing has.
std::string missing_like(const std::string& id);

}  // namespace finetuned::tests
