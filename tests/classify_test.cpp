// SPDX-License-Identifier: Apache-2.0
// The interface for users: pictures from memory or files, budgets and sizes per picture, damaged pictures,
// many threads.
#include "hedgerow/vision/classify.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "hedgerow/core/error.h"
#include "hedgerow/core/rng.h"

namespace hedgerow {
namespace {

constexpr const char* kModel = "random:dim=64,heads=1,layers=4,patch=8,image=32,classes=7,hidden=64";

Picture noise(int width, int height, uint64_t seed) {
  Picture p{width, height,
            std::vector<uint8_t>(static_cast<size_t>(width) * static_cast<size_t>(height) * 3)};
  for (size_t i = 0; i < p.rgb.size(); ++i) p.rgb[i] = static_cast<uint8_t>(Rng{seed}.bits(i));
  return p;
}

PictureRequest in_memory(const Picture& p) {
  PictureRequest r;
  r.rgb = p.rgb.data();
  r.width = p.width;
  r.height = p.height;
  return r;
}

ClassifierOptions halved() {
  ClassifierOptions o;
  o.prune.method = PruneMethod::threshold_l2;
  o.prune.budget.keep = 0.5;
  o.prune.after = 1;
  o.top = 3;
  return o;
}

TEST(Classify, pixels_in_memory_equal_the_file_of_them) {
  const auto model = load_classifier_model(kModel);
  const Picture p = noise(50, 41, 1);
  const std::string path = (std::filesystem::temp_directory_path() / "hedgerow_classify_test.png").string();
  write_png(path, p);
  PictureRequest file;
  file.path = path;
  const std::vector<float> chw = preprocess(p, model->preprocess);
  PictureRequest planes;
  planes.chw = chw.data();
  planes.width = planes.height = 32;
  Classifier classifier(model, halved());
  const auto results = classifier.classify({in_memory(p), file, planes});
  std::remove(path.c_str());
  ASSERT_EQ(results.size(), 3u);
  for (const auto& r : results) ASSERT_TRUE(r.error.empty()) << r.error;
  EXPECT_EQ(results[0].logits, results[1].logits);
  EXPECT_EQ(results[0].logits, results[2].logits);
  EXPECT_EQ(results[0].top.size(), 3u);
  EXPECT_GE(results[0].top[0].p, results[0].top[1].p);
}

TEST(Classify, every_picture_may_have_its_own_rate_and_size) {
  const auto model = load_classifier_model(kModel);
  const Picture p = noise(64, 64, 2);
  ClassifierOptions options = halved();
  options.max_size = 64;
  Classifier classifier(model, options);
  std::vector<PictureRequest> requests(3, in_memory(p));
  requests[1].keep = 0.25;
  requests[2].size = 64;
  const auto results = classifier.classify(requests);
  for (const auto& r : results) ASSERT_TRUE(r.error.empty()) << r.error;
  EXPECT_EQ(results[0].kept[1], 1 + 8);  // half of 16 patches
  EXPECT_EQ(results[1].kept[1], 1 + 4);
  EXPECT_EQ(results[2].kept[1], 1 + 32);  // half of 64
}

TEST(Classify, a_damaged_picture_does_not_stop_the_others) {
  const auto model = load_classifier_model(kModel);
  const std::string path = (std::filesystem::temp_directory_path() / "hedgerow_damaged_test.png").string();
  std::ofstream(path) << "no picture at all";
  PictureRequest bad, missing;
  bad.path = path;
  missing.path = path + ".missing";
  const Picture p = noise(32, 32, 3);
  Classifier classifier(model, halved());
  const auto results = classifier.classify({bad, in_memory(p), missing});
  std::remove(path.c_str());
  EXPECT_NE(results[0].error.find(path), std::string::npos) << results[0].error;
  EXPECT_TRUE(results[1].error.empty());
  EXPECT_EQ(results[1].logits.size(), 7u);
  EXPECT_FALSE(results[2].error.empty());
}

TEST(Classify, threads_share_a_model_and_get_the_bits_they_get_alone) {
  const auto model = load_classifier_model(kModel);
  const Picture a = noise(40, 40, 4), b = noise(60, 33, 5);
  const auto logits = [&](const Picture& p) {
    Classifier classifier(model, halved());
    return classifier.classify({in_memory(p)})[0].logits;
  };
  std::vector<float> first, second;
  std::thread one([&] { first = logits(a); }), two([&] { second = logits(b); });
  one.join();
  two.join();
  EXPECT_EQ(first, logits(a));
  EXPECT_EQ(second, logits(b));
}

TEST(Classify, unknown_models_are_named_in_one_line) {
  try {
    load_classifier_model("no-such-model");
    FAIL() << "wanted an Error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("no-such-model"), std::string::npos);
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace hedgerow
