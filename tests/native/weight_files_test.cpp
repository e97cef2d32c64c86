// SPDX-License-Identifier: Apache-2.0
//
// What is wrong with a file of weights gets a sentence that names the tensor and the file.
#include <algorithm>

#include "check.h"
#include "tensors.h"
#include "test_engine.h"

namespace {

using sounder::TensorPlace;
using tiny::Engine;

// Loads the tiny model from its file after change() had its way with the file and the list.
template <typename Change>
std::string sentence_of(int32_t expected_status, const Change &change) {
  tiny::Model model = tiny::make_model({});
  tiny::Packed packed = tiny::pack(model);
  std::vector<TensorPlace> places;
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    const tiny::Tensor &t = model.tensors[i];
    places.push_back({t.role, t.layer, 0, SOUNDER_TYPE_F32, t.rows, t.columns, 0, packed.offsets[i]});
  }
  change(packed.bytes, places);
  tiny::TemporaryFile file(packed.bytes);
  Engine engine;
  CHECK(engine.configure(model.config) == SOUNDER_OK);
  CHECK(engine.add_file(file.path()) == 0);
  int32_t status = SOUNDER_OK;
  for (const TensorPlace &p : places) {
    status =
        engine.add_tensor(p.role, p.layer, p.file, p.type, p.rows, p.columns, p.offset, p.interleaved_heads);
    if (status != SOUNDER_OK) break;
  }
  if (status == SOUNDER_OK) status = sounder_load(engine.handle());
  CHECK(status == expected_status);
  std::string text = status == SOUNDER_OK ? "" : engine.error();
  CHECK((engine.create() > 0) == (status == SOUNDER_OK));
  size_t at = text.find(file.path());
  return at == std::string::npos ? text : text.replace(at, file.path().size(), "FILE");
}

using Bytes = std::vector<uint8_t>;
using Places = std::vector<TensorPlace>;

TensorPlace &place_of(Places &places, int role, int layer = 0) {
  return *std::find_if(places.begin(), places.end(),
                       [&](const TensorPlace &p) { return p.role == role && p.layer == layer; });
}

void expect_sentence(const std::string &actual, const std::string &expected) {
  if (actual != expected) std::printf("  got:      %s\n  expected: %s\n", actual.c_str(), expected.c_str());
  CHECK(actual == expected);
}

}  // namespace

TEST("a good file loads, and tensors need not touch or be in order") {
  expect_sentence(sentence_of(SOUNDER_OK, [](Bytes &, Places &) {}), "");
  expect_sentence(sentence_of(SOUNDER_OK,
                              [](Bytes &bytes, Places &places) {
                                std::reverse(places.begin(), places.end());
                                bytes.insert(bytes.begin(), 100, 0);
                                for (TensorPlace &place : places) place.offset += 100;
                              }),
                  "");
}

TEST("a file that is too short is said to be, with the tensor and the bytes") {
  expect_sentence(
      sentence_of(SOUNDER_INVALID, [](Bytes &bytes, Places &) { bytes.resize(bytes.size() - 1); }),
      "Tensor down of layer 1 takes 8960 bytes from byte 123360 on, but FILE ends at byte 132319: the "
      "file is cut off, or its header is wrong.");
  CHECK(sentence_of(SOUNDER_INVALID, [](Bytes &bytes, Places &) { bytes.clear(); }).find("embedding") !=
        std::string::npos);
  CHECK(sentence_of(SOUNDER_INVALID, [](Bytes &, Places &places) {
          place_of(places, SOUNDER_ROLE_GATE, 1).offset = INT64_MAX - 5;
        }).find("Tensor gate of layer 1 takes 8960 bytes from byte 9223372036854775802 on") == 0);
}

TEST("wrong, double, missing and overlapping tensors are named") {
  auto after = [](auto change) {
    return sentence_of(SOUNDER_INVALID, [&](Bytes &, Places &places) { change(places); });
  };
  auto with_gate = [&](auto change) {
    return after([&](Places &places) { change(place_of(places, SOUNDER_ROLE_GATE, 1)); });
  };
  expect_sentence(with_gate([](TensorPlace &p) { p.rows = 55; }),
                  "Tensor gate of layer 1 has the shape [55, 40]; the model's figures ask for [56, 40].");
  expect_sentence(with_gate([](TensorPlace &p) { p.type = 9; }),
                  "Tensor gate of layer 1 has the unknown type 9.");
  expect_sentence(
      with_gate([](TensorPlace &p) { p.type = SOUNDER_TYPE_Q4_0; }),
      "Tensor gate of layer 1 has 40 columns, which is no multiple of the 32 values of a Q4_0 block.");
  expect_sentence(with_gate([](TensorPlace &p) { p.file = 1; }),
                  "Tensor gate of layer 1 lies in file 1; there are 1 files.");
  expect_sentence(with_gate([](TensorPlace &p) { p.offset = -4; }),
                  "Tensor gate of layer 1 lies at the negative offset -4.");
  expect_sentence(with_gate([](TensorPlace &p) { p.interleaved_heads = 4; }),
                  "Tensor gate of layer 1 is stated to have 4 interleaved heads; it can have 0 or none.");
  expect_sentence(with_gate([](TensorPlace &p) { p.layer = 2; }),
                  "Tensor gate is stated for layer 2; the model has layers 0 to 1.");
  expect_sentence(with_gate([](TensorPlace &p) { p.role = 17; }), "There is no tensor role 17.");
  expect_sentence(with_gate([](TensorPlace &p) { p.layer = 0; }), "Tensor gate of layer 0 is stated twice.");
  expect_sentence(after([](Places &places) { places.pop_back(); }), "Tensor down of layer 1 is missing.");
  expect_sentence(after([](Places &places) { places.clear(); }), "Tensor embedding is missing.");
  expect_sentence(after([](Places &places) { place_of(places, SOUNDER_ROLE_UP, 0).offset -= 4; }),
                  "Tensors gate of layer 0 and up of layer 0 overlap in FILE.");
  expect_sentence(after([](Places &places) {
                    places.push_back({SOUNDER_ROLE_Q_BIAS, 0, 0, SOUNDER_TYPE_F32, 1, 48, 0, 0});
                  }),
                  "Tensor q_bias of layer 0 has no place in a model with these flags.");
}

TEST("a weight that is NaN or infinite is found, wherever it lies") {
  auto poisoned = [](int role, int layer, int64_t index, float value) {
    return sentence_of(SOUNDER_INVALID, [&](Bytes &bytes, Places &places) {
      std::memcpy(bytes.data() + place_of(places, role, layer).offset + index * 4, &value, 4);
    });
  };
  expect_sentence(poisoned(SOUNDER_ROLE_DOWN, 1, 39 * 56 + 55, NAN),
                  "Tensor down of layer 1 in FILE has a value that is NaN or infinite (row 39, column 55).");
  expect_sentence(poisoned(SOUNDER_ROLE_EMBEDDING, 0, 0, INFINITY),
                  "Tensor embedding in FILE has a value that is NaN or infinite (row 0, column 0).");
  expect_sentence(poisoned(SOUNDER_ROLE_FINAL_NORM, 0, 7, -INFINITY),
                  "Tensor final_norm in FILE has a value that is NaN or infinite (row 0, column 7).");
}

TEST("files that cannot be read are named with the reason") {
  tiny::Model model = tiny::make_model({});
  auto load_from = [&](const std::string &path) {
    Engine engine;
    CHECK(engine.configure(model.config) == SOUNDER_OK);
    CHECK(engine.add_file(path) == 0);
    tiny::Packed packed = tiny::pack(model);
    for (size_t i = 0; i < model.tensors.size(); ++i) {
      const tiny::Tensor &t = model.tensors[i];
      engine.add_tensor(t.role, t.layer, 0, SOUNDER_TYPE_F32, t.rows, t.columns, packed.offsets[i]);
    }
    CHECK(sounder_load(engine.handle()) == SOUNDER_IO);
    return engine.error();
  };
  expect_sentence(load_from("/tmp/no such file"),
                  "Cannot open /tmp/no such file: No such file or directory.");
  expect_sentence(load_from("/tmp"), "Cannot read /tmp: it is no regular file.");
  Engine engine;
  CHECK(engine.configure({}) == SOUNDER_OK);
  CHECK(engine.add_file("") == SOUNDER_INVALID);
  CHECK(engine.add_file(std::string(5000, 'a')) == SOUNDER_INVALID);
  CHECK(engine.add_file(std::string("a\0b", 3)) == SOUNDER_INVALID);
  CHECK(sounder_add_tensors(engine.handle(), 1, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                            nullptr) == SOUNDER_INVALID);
  CHECK(sounder_add_tensors(engine.handle(), -1, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                            nullptr, nullptr) == SOUNDER_INVALID);
}

TEST("a load that failed can be repeated with a better file") {
  tiny::Model model = tiny::make_model({});
  Bytes bytes = tiny::pack(model).bytes;
  tiny::TemporaryFile good(bytes);
  bytes.resize(1000);
  tiny::TemporaryFile bad(bytes);
  Engine engine;
  CHECK(engine.load(model, &bad) == SOUNDER_INVALID);
  CHECK(engine.load(model, &good) == SOUNDER_OK);
  CHECK(engine.create() > 0);
}
